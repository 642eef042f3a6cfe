"""Slots for experts in one kind of memory: the processor's, or a device's."""

from __future__ import annotations

import mmap

import numpy as np
import torch

from engine.errors import EngineError
from engine.experts.kernels import Kernel, Operands

NOBODY = -1


class Taken:
    """Bytes taken of a budget, which is never exceeded."""

    def __init__(self, budget: int):
        self.budget, self.bytes = budget, 0

    def add(self, more: int) -> None:
        if self.bytes + more > self.budget:
            raise EngineError(
                f"The experts would take more than their {self.budget / 1e6:,.0f} MB of memory."
            )
        self.bytes += more


class Tier:
    """`slots` places of `slot_bytes` each, a multiple of a page. Which expert is where is kept here."""

    def __init__(self, slots: int, slot_bytes: int, kernel: Kernel, device: torch.device, taken: Taken):
        self.slots, self.slot_bytes, self.device, self.kernel = slots, slot_bytes, device, kernel
        self._taken = taken
        self._memory = self._allocate(slots, slot_bytes, device)
        self._operands: list[Operands | None] = [None] * slots
        self.key = np.full(slots, NOBODY)
        """The expert in each slot."""
        self.fixed = np.zeros(slots, dtype=bool)
        """Slots that may not be given to another: on their way, or about to be computed with."""
        self._free = list(range(slots - 1, -1, -1))
        self._touched = 0

    def memory(self, slot: int) -> torch.Tensor:
        """uint8 [slot_bytes]"""
        return self._memory[slot]

    def operands(self, slot: int) -> Operands:
        found = self._operands[slot]
        if found is None:
            found = self._operands[slot] = self.kernel.operands(self._memory[slot])
        return found

    @property
    def free(self) -> int:
        return len(self._free)

    def take_free(self) -> int | None:
        if not self._free:
            return None
        slot = self._free.pop()
        if slot >= self._touched:
            self._touched = slot + 1
            self._taken.add(self.slot_bytes)
        return slot

    def give_back(self, slot: int) -> None:
        self.key[slot] = NOBODY
        self.fixed[slot] = False
        self._free.append(slot)

    def coldest(self, scores: np.ndarray) -> int | None:
        """The slot with the lowest score among those that are not fixed."""
        held = np.where(self.fixed | (self.key == NOBODY), np.inf, scores[self.key])
        slot = int(held.argmin())
        return slot if held[slot] < np.inf else None

    def close(self) -> None:
        self._operands = []
        self._memory = torch.empty(0)

    @staticmethod
    def _allocate(slots: int, slot_bytes: int, device: torch.device) -> torch.Tensor:
        if device.type != "cpu":
            return torch.empty(slots, slot_bytes, dtype=torch.uint8, device=device)
        # Mapped, so that it begins at a page (direct reads ask for that) and takes no memory until it
        # is used.
        arena = mmap.mmap(-1, slots * slot_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            arena.madvise(mmap.MADV_NOHUGEPAGE)  # a huge page would reach into slots that are not used yet
        return torch.frombuffer(arena, dtype=torch.uint8).view(slots, slot_bytes)
