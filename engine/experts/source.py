"""What the experts are read from: the part of a checkpoint that this package asks for.

Protocols, so that any layout of `engine.checkpoints` fits, and the packed form as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.checkpoints import GroupedInts

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""


class ExpertWeight(Protocol):
    """One stored matrix; nothing is read until asked."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def floats(self) -> torch.Tensor:
        """float32, whole, in `shape`."""
        ...

    def blocks(self) -> GroupedInts | None:
        """The format's own whole numbers, where it has such; else None."""
        ...


class Weight(ExpertWeight, Protocol):
    """A stored tensor of any kind."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def stored_bytes(self) -> int: ...

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """float32 [stop - start, columns]"""
        ...


class Expert(Protocol):
    """gate and up [intermediate, hidden], down [hidden, intermediate], and biases of these or None."""

    @property
    def gate(self) -> ExpertWeight: ...
    @property
    def up(self) -> ExpertWeight: ...
    @property
    def down(self) -> ExpertWeight: ...
    @property
    def biases(self) -> Any: ...


class ExpertSource(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def layout(self) -> str: ...
    @property
    def config(self) -> dict[str, Any]: ...

    def expert_layers(self) -> Sequence[int]: ...
    def expert_count(self) -> int: ...
    def expert(self, layer: int, n: int) -> Expert: ...
    def release(self) -> None: ...


class Convertible(ExpertSource, Protocol):
    """A whole checkpoint: experts, and the dense tensors beside them."""

    def names(self) -> Sequence[str]: ...
    def weight(self, name: str) -> Weight: ...
