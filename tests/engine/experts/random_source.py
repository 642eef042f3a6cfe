"""A small checkpoint of random weights in memory, as the experts package sees one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType

from engine.checkpoints import GroupedInts
from engine.checkpoints.gguf_blocks import grouped_ints


@dataclass
class RandomWeight:
    tensor: torch.Tensor
    name: str = ""
    kind: str = "F32"
    numbers: GroupedInts | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def stored_bytes(self) -> int:
        return self.tensor.nbytes

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.tensor[start:stop].clone()

    def floats(self) -> torch.Tensor:
        return self.tensor.clone()

    def blocks(self) -> GroupedInts | None:
        return self.numbers


@dataclass
class RandomExpert:
    gate: RandomWeight
    up: RandomWeight
    down: RandomWeight
    biases: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None


@dataclass
class RandomSource:
    """`layers` layers (numbered 1, 2, ...) of `experts` experts."""

    path: Path
    layers: int = 2
    experts: int = 8
    hidden: int = 64
    intermediate: int = 32
    biased: bool = False
    numbers: str | None = None
    """`Q4_K` or `Q8_0`: weights that are a GGUF file's blocks."""
    seed: int = 0
    layout: str = "hf"
    config: dict[str, Any] = field(default_factory=lambda: {"model_type": "random"})
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = torch.Generator().manual_seed(self.seed)
        self._experts = {
            (layer, n): self._expert() for layer in self.expert_layers() for n in range(self.experts)
        }
        self.dense = {
            "model.norm.weight": RandomWeight(self._normal(self.hidden)),
            "model.embed_tokens.weight": RandomWeight(
                self._normal(32, self.hidden).bfloat16().float(), kind="BF16"
            ),
            "lm_head.weight": RandomWeight(self._normal(32, self.hidden), kind="Q6_K"),
            "empty": RandomWeight(torch.empty(0, 4)),
        }

    def expert_layers(self) -> Sequence[int]:
        return range(1, self.layers + 1)

    def expert_count(self) -> int:
        return self.experts

    def expert(self, layer: int, n: int) -> RandomExpert:
        self.asked.append((layer, n))
        return self._experts[layer, n]

    def names(self) -> Sequence[str]:
        return list(self.dense)

    def weight(self, name: str) -> RandomWeight:
        return self.dense[name]

    def release(self) -> None:
        pass

    def _expert(self) -> RandomExpert:
        wide, narrow = (self.intermediate, self.hidden), (self.hidden, self.intermediate)
        biases = None
        if self.biased:
            biases = (
                self._normal(self.intermediate),
                self._normal(self.intermediate),
                self._normal(self.hidden),
            )
        return RandomExpert(self._matrix(*wide), self._matrix(*wide), self._matrix(*narrow), biases)

    def _matrix(self, rows: int, columns: int) -> RandomWeight:
        if self.numbers is None:
            return RandomWeight(self._normal(rows, columns) * columns**-0.5)
        size = {"Q4_K": columns // 256 * 144, "Q8_0": columns // 32 * 34}[self.numbers]
        blocks = torch.randint(0, 256, (rows, size), dtype=torch.uint8, generator=self._random).numpy()
        units = 4 if self.numbers == "Q4_K" else 2
        per_block = blocks.reshape(rows, -1, 144 if units == 4 else 34)
        scale = self._normal(rows, per_block.shape[1], units // 2).abs().mul(1e-3).numpy().astype(np.float16)
        if self.numbers == "Q8_0":
            scale[:] = scale[:, :1]
        per_block[..., :units] = scale.view(np.uint8)
        numbers = grouped_ints(GGMLQuantizationType[self.numbers], blocks)
        assert numbers is not None
        return RandomWeight(numbers.floats(), kind=self.numbers, numbers=numbers)

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self._random)
