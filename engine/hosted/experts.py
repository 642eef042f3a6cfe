"""How routed experts are reached from transformers' layers, whoever holds their weights.

transformers calls the function that is registered under the config's `_experts_implementation` in place of a
layer's own expert loop. Ours is "ostro"; the layers keep no expert weights at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from engine.errors import BadModelFile

NAME = "ostro"

Activation = Callable[[Tensor, Tensor], Tensor]
"""Gate and up projections [..., intermediate], to what the down projection takes."""


class Experts(Protocol):
    """Holds the routed experts of every layer."""

    def forward(self, layer: int, hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """The sum over k of weight[:, k] * expert index[:, k] of `hidden`.

        `layer` counts decoder layers from 0. `hidden` is [T, H], `index` int64 [T, k], `weight` float32 [T,
        k]; returns [T, H] in the dtype of `hidden`.
        """
        ...


class Routed:
    """One layer's way to its experts; stands in the module as `routed`."""

    def __init__(self, layer: int, experts: Experts):
        self._layer, self._experts = layer, experts

    def __call__(self, hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        if not bool(torch.isfinite(weight).all()):
            raise BadModelFile(
                f"The numbers of layer {self._layer} are not finite, so no expert can be chosen: its "
                "weights, or those of a layer before it, are damaged; fetch the model again."
            )
        return self._experts.forward(self._layer, hidden, index, weight)


def activation_of(config: dict[str, Any]) -> Activation:
    """The gate of a family's experts, by the model's text config.

    SwiGLU everywhere but in gpt-oss, which clamps both sides and adds 1 to the linear one
    (transformers, `GptOssExperts._apply_gate`).
    """
    if config.get("model_type") != "gpt_oss":
        return lambda gate, up: F.silu(gate) * up
    limit = float(config.get("swiglu_limit", 7.0))
    alpha = float(config.get("swiglu_alpha", 1.702))

    def clamped(gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        return (up + 1) * gate * torch.sigmoid(gate * alpha)

    return clamped


def is_experts(module: nn.Module) -> bool:
    """Whether it is one of the modules that transformers decorates with `use_experts_implementation`."""
    return hasattr(module, "_apply_gate") and hasattr(module, "is_transposed")


def is_router(module: nn.Module) -> bool:
    return type(module).__name__.endswith(("TopKRouter", "TopkRouter"))


def take_over(module: Any, layer: int, experts: Experts) -> None:
    """Leave the module without weights, and let it ask `experts`."""
    for name, _ in list(module.named_parameters(recurse=False)):
        delattr(module, name)
    module.routed = Routed(layer, experts)
    module.config._experts_implementation = NAME


def route_in_float32(router: nn.Module) -> None:
    """Whatever the model computes in: a logit rounded to bfloat16 would choose other experts."""
    router.register_forward_pre_hook(lambda _, inputs: tuple(each.float() for each in inputs))


def _ask(module: Any, hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    return module.routed(hidden, index, weight)


ALL_EXPERTS_FUNCTIONS.register(NAME, _ask)
