"""What a model is made of: its parameters by part, and how many of them a token reads.

From a configuration as transformers' `config.json` has it, by the shapes of its modules; no weights are read.
For Mistral Small 4 the sum is the published number of parameters to the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import UnsupportedModel

Config = Mapping[str, Any]

ROUTED, EMBEDDING = "routed experts", "embedding"


@dataclass(frozen=True)
class Part:
    """A share of a model's parameters."""

    name: str
    parameters: int
    active: int
    """Read for each token that is decoded."""


@dataclass(frozen=True)
class Anatomy:
    """A decoder by its parts, and what its cache takes."""

    parts: tuple[Part, ...]
    layers: int
    experts: int
    """A layer; 0 in a dense model."""
    experts_active: int
    context: int
    """Tokens that the model was made for."""
    cache_values: int
    """Numbers that the cache keeps for each token, all layers together."""

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def active(self) -> int:
        """Parameters read for each token that is decoded; of the embedding that is one row."""
        return sum(part.active for part in self.parts)

    def part(self, name: str) -> int:
        """Parameters of one part; 0 where the model has none such."""
        return sum(part.parameters for part in self.parts if part.name == name)

    @property
    def routed(self) -> int:
        return self.part(ROUTED)

    @property
    def resident(self) -> int:
        """Parameters of everything but the routed experts: what has to be in memory."""
        return self.parameters - self.routed


def anatomy(config: Config) -> Anatomy:
    """Of a transformers configuration. Raises UnsupportedModel for a type that it does not know."""
    text: Config = config.get("text_config") or config
    kind = text.get("model_type", "")
    if kind not in ATTENTION:
        known = ", ".join(sorted(ATTENTION))
        raise UnsupportedModel(f"Models of type {kind!r} cannot be sized; {known} can.")
    hidden, layers, vocabulary = text["hidden_size"], text["num_hidden_layers"], text["vocab_size"]
    attention, cache = ATTENTION[kind](text)
    matrix = hidden * vocabulary
    tied = bool(text.get("tie_word_embeddings", False))
    parts = [
        Part(EMBEDDING, matrix, hidden),
        Part("attention", layers * attention, layers * attention),
        Part("norms", (2 * layers + 1) * hidden, (2 * layers + 1) * hidden),
        *_feed_forward(text, layers, hidden),
        # A tied head is the embedding once more: nothing to store, all of it to read.
        Part("head", 0 if tied else matrix, matrix),
        *_vision(config),
    ]
    return Anatomy(
        parts=tuple(parts),
        layers=layers,
        experts=_experts(text),
        experts_active=text.get("num_experts_per_tok", 0),
        context=text.get("max_position_embeddings", 0),
        cache_values=layers * cache,
    )


def _latent_attention(text: Config) -> tuple[int, int]:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): parameters of a layer, cached values."""
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    query, latent = text["q_lora_rank"], text["kv_lora_rank"]
    rotary, plain, value = text["qk_rope_head_dim"], text["qk_nope_head_dim"], text["v_head_dim"]
    queries = hidden * query + query + query * heads * (plain + rotary)
    keys_values = hidden * (latent + rotary) + latent + latent * heads * (plain + value)
    return queries + keys_values + heads * value * hidden, latent + rotary


def _grouped_attention(text: Config) -> tuple[int, int]:
    """Grouped-query attention: parameters of a layer, cached values."""
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    head = text.get("head_dim") or hidden // heads
    keys = text.get("num_key_value_heads", heads) * head
    biases = heads * head + 2 * keys if text["model_type"] in BIASED else 0
    normed = 2 * head if text["model_type"] in NORMED else 0
    return 2 * hidden * heads * head + 2 * hidden * keys + biases + normed, 2 * keys


ATTENTION = {
    "mistral4": _latent_attention,
    "mistral": _grouped_attention,
    "ministral3": _grouped_attention,
    "mixtral": _grouped_attention,
    "qwen2": _grouped_attention,
    "qwen3_moe": _grouped_attention,
}
BIASED, NORMED = {"qwen2"}, {"qwen3_moe"}


def _experts(text: Config) -> int:
    names = ("n_routed_experts", "num_local_experts", "num_experts")
    return next((text[name] for name in names if text.get(name)), 0)


def _feed_forward(text: Config, layers: int, hidden: int) -> list[Part]:
    """Gated feed-forward blocks: three matrices each, routed, shared or dense."""
    experts = _experts(text)
    if not experts:
        dense = 3 * hidden * text["intermediate_size"]
        return [Part("feed-forward", layers * dense, layers * dense)]
    first_dense = text.get("first_k_dense_replace", 0)
    sparse = layers - first_dense
    one = 3 * hidden * (text.get("moe_intermediate_size") or text["intermediate_size"])
    shared = one * text.get("n_shared_experts", 0)
    dense = 3 * hidden * text["intermediate_size"] * first_dense
    parts = [
        Part(ROUTED, sparse * experts * one, sparse * text["num_experts_per_tok"] * one),
        Part("shared experts", sparse * shared, sparse * shared),
        Part("router", sparse * experts * hidden, sparse * experts * hidden),
        Part("feed-forward", dense, dense),
    ]
    return [part for part in parts if part.parameters]


def _vision(config: Config) -> list[Part]:
    """A Pixtral tower and its projector, which only images read."""
    tower = config.get("vision_config")
    if not tower:
        return []
    hidden, inner, layers = tower["hidden_size"], tower["intermediate_size"], tower["num_hidden_layers"]
    block = 4 * hidden * hidden + 3 * hidden * inner + 2 * hidden
    patches = tower.get("num_channels", 3) * tower["patch_size"] ** 2 * hidden
    text = config["text_config"]["hidden_size"]
    merged = config.get("spatial_merge_size", 2) ** 2 * hidden * hidden
    projector = hidden + merged + hidden * text + text * text
    return [Part("vision", patches + hidden + layers * block, 0), Part("projector", projector, 0)]
