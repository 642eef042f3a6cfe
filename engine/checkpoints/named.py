"""A checkpoint made of weights under their canonical names: what all layouts become."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.checkpoints.expert_names import find_experts
from engine.checkpoints.weight import Expert, Weight
from engine.errors import BadModelFile

TEXT_LAYER = re.compile(r"^model\.(?:language_model\.)?layers\.(\d{1,6})\.")
VISION_LAYERS = (
    (re.compile(r"^model\.vision_tower\.transformer\.layers\.(\d{1,6})\."), "num_hidden_layers"),
    (re.compile(r"^model\.visual\.blocks\.(\d{1,6})\."), "depth"),
)
COUNT_KEYS = ("n_routed_experts", "num_local_experts", "num_experts")


class NamedCheckpoint:
    """See `Checkpoint`. Raises BadModelFile where weights and configuration contradict each other."""

    def __init__(
        self,
        path: Path,
        layout: str,
        config: dict[str, Any],
        weights: Mapping[str, Weight],
        release: Callable[[], None],
    ):
        self.path, self.layout, self.config = path, layout, config
        self._release = release
        text = text_config(config)
        self._experts, taken = find_experts(weights, gpt_oss=text.get("model_type") == "gpt_oss")
        self._weights = {name: weight for name, weight in weights.items() if name not in taken}
        self._count = max((count for count, _ in self._experts.values()), default=0)
        self._check_layers(text)
        self._check_experts(text)

    def names(self) -> Sequence[str]:
        return list(self._weights)

    def weight(self, name: str, shape: Sequence[int] | None = None) -> Weight:
        if name not in self._weights:
            raise BadModelFile(f"{self.path} has no weight {name}; fetch the model again.")
        weight = self._weights[name]
        if shape is not None and tuple(shape) != weight.shape:
            raise self._misshapen(weight, tuple(shape))
        return weight

    def expert_layers(self) -> Sequence[int]:
        return list(self._experts)

    def expert_count(self) -> int:
        return self._count

    def expert(self, layer: int, n: int) -> Expert:
        if layer not in self._experts or not 0 <= n < self._count:
            raise BadModelFile(f"{self.path} has no expert {n} in layer {layer}; fetch the model again.")
        return self._experts[layer][1](n)

    def release(self) -> None:
        self._release()

    def _misshapen(self, weight: Weight, shape: tuple[int, ...]) -> BadModelFile:
        return BadModelFile(
            f"{self.path}: {weight.name} has the shape {list(weight.shape)} where the model has "
            f"{list(shape)}; fetch it again."
        )

    def _check_layers(self, text: dict[str, Any]) -> None:
        """A configuration that claims a billion layers must not get as far as building them."""
        self._check_count(TEXT_LAYER, text.get("num_hidden_layers"), set(self._experts))
        vision = self.config.get("vision_config")
        for pattern, key in VISION_LAYERS:
            if isinstance(vision, dict) and any(pattern.match(name) for name in self._weights):
                self._check_count(pattern, vision.get(key), set())

    def _check_count(self, pattern: re.Pattern[str], said: Any, found: set[int]) -> None:
        found = found | {int(match[1]) for name in self._weights if (match := pattern.match(name))}
        if found != set(range(len(found))) or said not in (None, len(found)):
            raise BadModelFile(
                f"{self.path}: the configuration has {said} layers, the weights have {len(found)}; "
                "fetch the model again."
            )

    def _check_experts(self, text: dict[str, Any]) -> None:
        said = next((text[key] for key in COUNT_KEYS if text.get(key) is not None), None)
        if not self._experts:
            return
        if any(count != (self._count if said is None else said) for count, _ in self._experts.values()):
            raise BadModelFile(
                f"{self.path}: the configuration has {said} experts a layer, the weights have {self._count}; "
                "fetch the model again."
            )
        hidden = text.get("hidden_size")
        inner = text.get("moe_intermediate_size", text.get("intermediate_size"))
        for layer, (count, make) in self._experts.items():
            for n in range(count):
                self._check_expert(make(n), hidden, inner, f"expert {n} of layer {layer}")

    def _check_expert(self, expert: Expert, hidden: int | None, inner: int | None, what: str) -> None:
        gate, up, down = expert.gate.shape, expert.up.shape, expert.down.shape
        inner_, hidden_ = gate if len(gate) == 2 else (0, 0)
        wrong = hidden not in (None, hidden_) or inner not in (None, inner_) or up != gate
        if wrong or down != (hidden_, inner_) or not inner_ * hidden_:
            raise BadModelFile(
                f"{self.path}: {what} has projections of {list(gate)}, {list(up)} and {list(down)} where "
                f"the configuration has {hidden} values in and {inner} within; fetch the model again."
            )


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a configuration."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config
