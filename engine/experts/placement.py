"""Which expert is where, and who makes room for whom: one policy over disk, memory and a device.

An expert is named by a key, layer position * experts + number. It is on disk alone, on its way into a slot of
the memory, in such a slot, or in a slot of the device. The one place where slots change hands; everything
here happens in the thread that computes.
"""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Sequence

from engine.experts.counters import Counters
from engine.experts.heat import Heat
from engine.experts.reader import Load, Reader
from engine.experts.tier import Tier

AHEAD_SHARE = 4
"""Reads ahead hold at most one in so many slots."""
PROMOTED_AT_ONCE = 2
"""Experts that move to the device after a layer: a copy takes time that nothing else uses."""


class Placement:
    def __init__(
        self,
        memory: Tier,
        device: Tier | None,
        heat: Heat,
        reader: Reader,
        counters: Counters,
        layers: Sequence[int],
        experts: int,
    ):
        self._memory, self._device, self._heat, self._reader = memory, device, heat, reader
        self._counters, self._layers, self._experts = counters, layers, experts
        self._at: dict[int, tuple[Tier, int]] = {}
        """Where the experts are that can be computed with."""
        self._coming: dict[int, Load] = {}
        self._leaving: list[Load] = []
        """Broken off, while a thread is still at a piece: their slots are not free yet."""
        self._guessed: set[int] = set()
        """Read ahead, not asked for yet."""
        self._waiting: deque[int] = deque()
        """Asked for, no slot yet."""
        self._order: list[int] = []
        self._next = 0

    def begin(self, layer: int, asked: Sequence[int], *, resident_first: bool) -> list[int]:
        """A layer asks for experts, given in ascending order. Returns the order to compute them in."""
        base = layer * self._experts
        keys = [base + n for n in asked]
        self._arrived()
        self._drop_guesses(layer, set(keys))
        here = [key for key in keys if key in self._at]
        self._counters.hits += len(here)
        self._counters.misses += len(keys) - len(here)
        for key in here:
            self._fix(key)
        for key in self._guessed.intersection(keys):
            self._guessed.discard(key)
            self._counters.prefetch_used += 1
        missing = [key for key in keys if key not in self._at]
        for key in missing:
            if (load := self._coming.get(key)) is not None:
                self._reader.hurry(load)
        self._order = here + missing if resident_first else keys
        self._next = 0
        self._waiting = deque(key for key in missing if key not in self._coming)
        self._start_waiting()
        return [key - base for key in self._order]

    def all_in_memory(self) -> list[int] | None:
        """The slots of the memory that hold the whole order; None where some of it is elsewhere."""
        places = [self._at.get(key) for key in self._order]
        slots = [place[1] for place in places if place is not None and place[0] is self._memory]
        return slots if len(slots) == len(places) else None

    def next(self) -> tuple[Tier, int]:
        """The place of the next expert of the order, which stays where it is until `computed`."""
        key = self._order[self._next]
        while key not in self._at and key not in self._coming:
            self._make_room()
            self._start_waiting()
        if key in self._coming:
            self._await(key)
        return self._at[key]

    def computed(self) -> None:
        """The next expert is done with."""
        tier, slot = self._at[self._order[self._next]]
        tier.fixed[slot] = False
        self._next += 1
        self._start_waiting()

    def end(self) -> None:
        """The layer is done, or given up."""
        self._waiting.clear()
        for key in self._order[self._next :]:
            if key in self._at:
                tier, slot = self._at[key]
                tier.fixed[slot] = False
        if self._device is not None and self._next == len(self._order):
            self._promote(self._device)
        self._order = []

    def read_ahead(self, layer: int, likely: Sequence[tuple[int, float]]) -> None:
        """Begin to read experts that this layer will probably ask for: (number, probability)."""
        if self._waiting:
            return
        keys = [layer * self._experts + n for n, _ in likely]
        kept = [place for key in keys if (place := self._at.get(key)) is not None]
        before = [tier.fixed[slot] for tier, slot in kept]
        for tier, slot in kept:
            tier.fixed[slot] = True
        for key in keys:
            if key in self._at or key in self._coming:
                continue
            if sum(not load.urgent for load in self._coming.values()) >= max(
                1, self._memory.slots // AHEAD_SHARE
            ):
                break
            if (slot := self._slot()) is None:
                break
            self._guessed.add(key)
            self._counters.prefetched += 1
            self._start(key, slot, urgent=False)
        for (tier, slot), was in zip(kept, before, strict=True):
            tier.fixed[slot] = was

    def warm(self, keys: Sequence[int]) -> None:
        """Fill free slots with these, hottest first, when there is nothing else to read."""
        for key in keys:
            if key in self._at or key in self._coming:
                continue
            if (slot := self._memory.take_free()) is None:
                return
            self._start(key, slot, urgent=False, last=True)

    def close(self) -> None:
        self._at.clear()
        self._coming.clear()

    def _start_waiting(self) -> None:
        while self._waiting and (slot := self._slot()) is not None:
            self._start(self._waiting.popleft(), slot, urgent=True)

    def _start(self, key: int, slot: int, *, urgent: bool, last: bool = False) -> None:
        position, n = divmod(key, self._experts)
        load = Load(self._layers[position], n, slot, self._memory.memory(slot))
        self._memory.key[slot], self._memory.fixed[slot] = key, True
        self._coming[key] = load
        self._reader.submit(load, urgent=urgent, last=last)

    def _slot(self) -> int | None:
        """A slot to read into: a free one, else that of the coldest expert."""
        if self._leaving:
            self._left()
        if (slot := self._memory.take_free()) is not None:
            return slot
        coldest = self._memory.coldest(self._heat.scores)
        if coldest is not None:
            self._evict(coldest)
            return self._memory.take_free()
        return None

    def _evict(self, slot: int) -> None:
        key = int(self._memory.key[slot])
        del self._at[key]
        self._waste(key)
        self._memory.give_back(slot)

    def _make_room(self) -> None:
        """For an expert that is to be computed now, where every slot is on its way or wanted later."""
        for key, load in reversed(self._coming.items()):
            if not load.urgent:
                self._drop(key)
                return
        if self._leaving:
            self._reader.wait_until_done(self._leaving[0])
            return
        later = [
            key
            for key in self._order[self._next + 1 :]
            if key in self._at and self._at[key][0] is self._memory
        ]
        if later:
            self._evict(self._at[later[-1]][1])
            bisect.insort(self._waiting, later[-1])
            return
        # Only what a pass that failed had asked for is left.
        load = next(iter(self._coming.values()))
        self._reader.wait_until_done(load)
        self._arrived()

    def _await(self, key: int) -> None:
        load = self._coming[key]
        began = time.perf_counter()
        try:
            self._reader.wait(load)
        finally:
            self._counters.stall_seconds += time.perf_counter() - began
            if load.done:
                self._settle(key, load)
        self._fix(key)

    def _arrived(self) -> None:
        for key, load in list(self._coming.items()):
            if load.done:
                self._settle(key, load)

    def _settle(self, key: int, load: Load) -> None:
        del self._coming[key]
        if load.error is None:
            self._memory.fixed[load.slot] = False
            self._at[key] = (self._memory, load.slot)
            return
        # A read ahead that failed is not spoken of: it fails again if it is ever needed.
        self._waste(key)
        self._memory.give_back(load.slot)

    def _drop_guesses(self, layer: int, asked: set[int]) -> None:
        """What was guessed for this layer and is still on its way takes the disk from what is needed."""
        for key in self._guessed.intersection(self._coming) - asked:
            if key // self._experts == layer:
                self._drop(key)

    def _drop(self, key: int) -> None:
        load = self._coming.pop(key)
        self._waste(key)
        if self._reader.drop(load):
            self._memory.give_back(load.slot)
        else:
            self._leaving.append(load)

    def _left(self) -> None:
        for load in [load for load in self._leaving if load.done]:
            self._leaving.remove(load)
            self._memory.give_back(load.slot)

    def _waste(self, key: int) -> None:
        if key in self._guessed:
            self._guessed.discard(key)
            self._counters.prefetch_wasted += 1

    def _fix(self, key: int) -> None:
        tier, slot = self._at[key]
        tier.fixed[slot] = True

    def _promote(self, device: Tier) -> None:
        """Experts just used that are hotter than the device's coldest change places with it."""
        scores = self._heat.scores
        here = [key for key in self._order if key in self._at and self._at[key][0] is self._memory]
        for key in sorted(here, key=lambda key: -scores[key])[:PROMOTED_AT_ONCE]:
            slot = self._at[key][1]
            coldest: int | None = None
            if device.free == 1:  # the last one is where an exchange passes through
                coldest = device.coldest(scores)
                if coldest is None or scores[device.key[coldest]] >= scores[key]:
                    return
            place = device.take_free()
            assert place is not None
            device.memory(place).copy_(self._memory.memory(slot))
            device.key[place] = key
            self._at[key] = (device, place)
            self._counters.promoted += 1
            if coldest is None:
                self._memory.give_back(slot)
                continue
            cooled = int(device.key[coldest])
            self._memory.memory(slot).copy_(device.memory(coldest))
            self._memory.key[slot] = cooled
            self._at[cooled] = (self._memory, slot)
            device.give_back(coldest)
