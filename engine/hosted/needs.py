"""What a hosted model takes, told before any weight is read: by the model that its configuration makes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from engine.errors import BadModelFile
from engine.hosted.build import adapt, build, layout, text_model
from engine.hosted.cache import SNAPSHOTS
from engine.hosted.images import vision_bytes
from engine.hosted.precision import COMPUTED_IN, Precision, cache_dtype_of
from engine.hosted.weights import held_bytes, is_tied
from engine.memory_plan import Needs, activations_a_token


class _Nobody:
    """Stands where experts will be asked."""

    def forward(self, layer: int, hidden: Any, index: Any, weight: Any) -> Any:
        raise AssertionError("a model without weights was asked to compute")


def needs_of(
    config: dict[str, Any],
    where: Any,
    *,
    precision: Precision,
    names: Collection[str] | None = None,
    experts: int = 0,
    least_experts: int = 0,
) -> Needs:
    """Of a config.json.

    `names` are those of the stored weights, which say whether the head is one of them; without them the text
    model's own configuration does. `experts` and `least_experts` are what its routed experts take, in bytes.
    Raises UnsupportedModel and BadModelFile.
    """
    device = torch.device("meta")
    model = build(config, where, torch.device("cpu"))
    tied = _says_tied(config, model) if names is None else is_tied(model, names)
    weights = held_bytes(model, precision, tied)
    adapt(model, _Nobody(), "plain", where)
    kept = layout(model, cache_dtype_of(precision), COMPUTED_IN[precision], device)
    text = text_model(model).config
    context: Any = text.max_position_embeddings
    if type(context) is not int or context < 1 or kept.token_bytes < 1:
        raise BadModelFile(f"{where}: the sizes in its configuration make no model; fetch it again.")
    return Needs(
        weights=weights,
        activations_a_token=_activations(text),
        token_bytes=kept.token_bytes,
        state_bytes=(1 + SNAPSHOTS) * kept.state_bytes,
        context=context,
        experts=experts,
        least_experts=least_experts,
        vision=vision_bytes(model.config) if hasattr(model.model, "vision_tower") else 0,
    )


def _says_tied(config: dict[str, Any], model: Any) -> bool:
    """Not by a wrapper's own word, which transformers makes up where there is none."""
    text = config.get("text_config")
    return bool(model.config.tie_word_embeddings if text is None else text.get("tie_word_embeddings", False))


def _activations(text: Any) -> int:
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    inner = max(getattr(text, name, None) or 0 for name in _inner_sizes(text))
    return activations_a_token(text.hidden_size, text.num_attention_heads, head, inner)


def _inner_sizes(text: Any) -> tuple[str, ...]:
    """What a configuration calls the widths of its feed-forward blocks."""
    of_experts = ("moe_intermediate_size", "shared_expert_intermediate_size")
    no_dense_layer = getattr(text, "first_k_dense_replace", None) == 0
    return of_experts if no_dense_layer else ("intermediate_size", *of_experts)
