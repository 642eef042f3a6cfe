"""What a checkpoint gives: weights that are read a few rows at a time, experts, and the checkpoint itself.

A weight of any shape is also a matrix: its last dimension is the columns, all others together the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.errors import BadModelFile

VALUES_AT_ONCE = 1 << 20
"""Values decoded together where a whole weight is wanted: 4 MiB of float32 beside the result."""


@dataclass(frozen=True)
class Levels:
    """Scales and minima of Q4_K as the file has them: a 16-bit unit for 256 columns, times a whole number.

    A scale is `units[..., 0] * levels[..., 0]`, a minimum `-units[..., 1] * levels[..., 1]`. Neither product
    fits into 16 bits, so that keeping the factors is what makes the mapping lossless.
    """

    units: torch.Tensor
    """float16 [rows, columns / 256, 2]"""
    levels: torch.Tensor
    """uint8 [rows, columns / 32, 2]"""


@dataclass(frozen=True)
class GroupedInts:
    """Whole numbers with a scale and a minimum for each group of columns: value = q * scale + minimum.

    `q`: uint8 [rows, columns] in 0..15 where `bits` is 4, int8 where it is 8. `scale` float32
    [rows, columns / group]; `minimum` the same, or None where it is zero throughout. `levels` where the
    format has scale and minimum as products of two parts.
    """

    bits: int
    group: int
    q: torch.Tensor
    scale: torch.Tensor
    minimum: torch.Tensor | None
    levels: Levels | None = None

    def floats(self) -> torch.Tensor:
        """float32 [rows, columns]: bit for bit what `Weight.rows` says."""
        grouped = self.q.to(torch.float32).unflatten(1, (-1, self.group))
        value = grouped * self.scale[:, :, None]
        return (value if self.minimum is None else value + self.minimum[:, :, None]).flatten(1)


class Weight(Protocol):
    """One tensor of a model. Nothing is read until asked; reading raises BadModelFile."""

    name: str
    shape: tuple[int, ...]
    kind: str
    """How it is stored: F32, F16, BF16, F8_E4M3, NVFP4, MXFP4, Q4_K, Q6_K, Q8_0, …"""
    stored_bytes: int
    """Bytes in the file, scales included; a view of part of a tensor has its share."""

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """float32 [stop - start, columns], finite."""
        ...

    def floats(self) -> torch.Tensor:
        """float32 in `shape`, finite."""
        ...

    def blocks(self, start: int = 0, stop: int | None = None) -> GroupedInts | None:
        """At least one row as whole numbers in groups where that loses nothing, else None."""
        ...


class Decoded:
    """A weight by its `_decode` (rows to float32) and, where the format is one of groups, `_grouped`."""

    def __init__(self, name: str, shape: tuple[int, ...], kind: str, stored_bytes: int):
        self.name, self.shape, self.kind, self.stored_bytes = name, shape, kind, stored_bytes
        self.columns = shape[-1] if shape else 1
        self.row_count = prod(shape[:-1])

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        raise NotImplementedError

    def _grouped(self, start: int, stop: int) -> GroupedInts | None:
        return None

    def rows(self, start: int, stop: int) -> torch.Tensor:
        self._check(start, stop)
        if start == stop:
            return torch.empty(0, self.columns)
        values = self._decode(start, stop)
        if not torch.isfinite(values).all():
            raise self._not_numbers()
        return values

    def floats(self) -> torch.Tensor:
        whole = torch.empty(self.row_count, self.columns)
        step = max(1, VALUES_AT_ONCE // max(1, self.columns))
        for start in range(0, self.row_count, step):
            stop = min(start + step, self.row_count)
            whole[start:stop] = self.rows(start, stop)
        return whole.reshape(self.shape)

    def blocks(self, start: int = 0, stop: int | None = None) -> GroupedInts | None:
        stop = self.row_count if stop is None else stop
        self._check(start, stop)
        grouped = self._grouped(start, stop)
        if grouped is None:
            return None
        minimum = torch.zeros(()) if grouped.minimum is None else grouped.minimum
        if not (torch.isfinite(grouped.scale).all() and torch.isfinite(minimum).all()):
            raise self._not_numbers()
        return grouped

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.row_count:
            raise IndexError(f"{self.name} has {self.row_count} rows, not [{start}, {stop})")

    def _not_numbers(self) -> BadModelFile:
        return BadModelFile(
            f"The weight {self.name} has values or scales that are no finite numbers; fetch the model again."
        )


@dataclass(frozen=True)
class Expert:
    """A routed expert: y = down(activation(gate(x)) * up(x)), with biases where the family has them."""

    gate: Weight
    """[intermediate, hidden]"""
    up: Weight
    """[intermediate, hidden]"""
    down: Weight
    """[hidden, intermediate]"""
    biases: tuple[Weight, Weight, Weight] | None = None
    """Of gate and up [intermediate], and of down [hidden]."""

    @property
    def stored_bytes(self) -> int:
        return sum(weight.stored_bytes for weight in (self.gate, self.up, self.down, *(self.biases or ())))


class Checkpoint(Protocol):
    """The weights of one model, whatever the layout of its files."""

    path: Path
    layout: str
    """hf, native, gguf or packed."""
    config: dict[str, Any]
    """As transformers' config.json says it, `model_type` and all; made up from the metadata elsewhere."""

    def names(self) -> Sequence[str]:
        """The state-dict names of the transformers class, less those of routed experts."""
        ...

    def weight(self, name: str, shape: Sequence[int] | None = None) -> Weight:
        """One of `names()`; where `shape` is given, BadModelFile if the file's is another."""
        ...

    def expert_layers(self) -> Sequence[int]:
        """The layers that have routed experts, in order."""
        ...

    def expert_count(self) -> int:
        """Routed experts of a layer; 0 for a dense model."""
        ...

    def expert(self, layer: int, n: int) -> Expert: ...

    def release(self) -> None:
        """Let go of what is mapped or kept in the page cache for this model; it is read again when needed."""
        ...
