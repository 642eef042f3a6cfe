"""What models take that are known without their weights: by the arithmetic that the engine loads them by."""

from __future__ import annotations

from engine.experts import packed_bytes_for
from engine.hosted import needs_of
from engine.known_configs import QWEN2, SMALL_4
from engine.memory_plan import Needs
from engine.qwen2_needs import qwen2_needs_of

PACKED = ("int4", "int8")


def known_needs() -> dict[str, Needs]:
    """By name and form, as in "mistral-small-4 int4"; on a processor."""
    needs = {f"mistral-small-4 {form}": _small_4(form) for form in PACKED}
    return needs | {f"{name} int8": _qwen2(config) for name, config in QWEN2.items()}


def _small_4(form: str) -> Needs:
    text = SMALL_4["text_config"]
    layers = text["num_hidden_layers"] - text["first_k_dense_replace"]
    least, every = packed_bytes_for(
        form, text["hidden_size"], text["moe_intermediate_size"], layers, text["n_routed_experts"]
    )
    return needs_of(SMALL_4, "Mistral Small 4", precision="int8", experts=every, least_experts=least)


def _qwen2(config: dict[str, int]) -> Needs:
    """The catalogue's files have the head's matrix once, for the embedding as well."""
    hidden, heads, inner = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * (hidden // heads)
    layer = 2 * hidden * hidden + 2 * keys * hidden + 3 * hidden * inner
    layers = config["num_hidden_layers"]
    return qwen2_needs_of(
        values=layers * layer + config["vocab_size"] * hidden,
        hidden=hidden,
        heads=heads,
        key_heads=config["num_key_value_heads"],
        inner=inner,
        layers=layers,
        context=config["max_position_embeddings"],
    )
