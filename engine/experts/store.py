"""Experts that need not all fit in memory: who stays, who is read, and what is computed meanwhile.

A layer asks for its experts. Those in memory are computed at once; the others are read by threads, together
with those that the next layer is likely to ask for. What stays is what is used most of late. Every expert is
computed by one kernel on the same bytes, and a token's experts are summed in ascending order, so that the
result does not depend on the budget, nor on what happened to be in memory.
"""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import numpy as np
import torch

from engine.errors import EngineError
from engine.experts.counters import Counters
from engine.experts.fetch import READERS, CheckpointFetch, PackedFetch, in_place_bytes, packed_scratch_bytes
from engine.experts.heat import Heat
from engine.experts.kernels import Activation, Kernel, silu_and_multiply
from engine.experts.packed import PackedModel
from engine.experts.placement import Placement
from engine.experts.predictor import Predictor
from engine.experts.profile import Profile
from engine.experts.reader import Reader
from engine.experts.record import Geometry
from engine.experts.shares import Share, shares_of
from engine.experts.source import ExpertSource
from engine.experts.tier import Taken, Tier
from engine.machine_memory import free_memory

LEAST_SLOTS = 2
IN_ANY_ORDER = 64
"""Passes of so many tokens and fewer compute what is in memory first, and keep the results until they can be
summed in order. Longer ones go in order at once: their results are large."""
READ_AHEAD_AT = 0.35
"""Probability from which an expert is read before it is asked for."""


class ExpertStore:
    """The routed experts of a model. One thread at a time calls `forward`."""

    @classmethod
    def open(
        cls,
        source: ExpertSource,
        *,
        budget: int | None = None,
        device: torch.device | str | None = None,
        device_budget: int = 0,
        profile: Path | None = None,
        activation: Activation = silu_and_multiply,
        form: str | None = None,
        read_ahead: bool = True,
    ) -> ExpertStore:
        """Experts of a packed model, or of any other checkpoint.

        `budget` is in bytes of memory: slots, reads on their way, the turning over of what was read, the
        predictor's tables. None: what is free, less a reserve. `device` with `device_budget` bytes of its
        memory takes the hottest experts. `profile` is a file to begin from and to save to in `close` (see
        `profile_path`). `form` says how experts of a checkpoint that is not packed are kept ("float32"
        unless named); a packed model has its own. Activations are not counted.
        Raises EngineError where the budget is too small for any expert, BadModelFile, UnsupportedModel.
        """
        layers = list(source.expert_layers())
        geometry, slot_bytes = _slots_for(source, form)
        if isinstance(source, PackedModel):
            fetch, threads = PackedFetch(source), READERS
        else:
            fetch, threads = CheckpointFetch(source, geometry), 1
        return cls(
            layers, source.expert_count(), geometry, slot_bytes, fetch, threads, activation,
            budget=budget, device=device, device_budget=device_budget, profile=profile, read_ahead=read_ahead,
        )  # fmt: skip

    def __init__(
        self,
        layers: list[int],
        experts: int,
        geometry: Geometry,
        slot_bytes: int,
        fetch: PackedFetch | CheckpointFetch,
        threads: int,
        activation: Activation,
        *,
        budget: int | None,
        device: torch.device | str | None,
        device_budget: int,
        profile: Path | None,
        read_ahead: bool,
    ):
        self.layers, self.experts, self.geometry = layers, experts, geometry
        self._position = {layer: at for at, layer in enumerate(layers)}
        self._predictor = Predictor(len(layers), experts)
        self._profile = profile
        self._read_ahead = read_ahead
        self.budget = free_memory() if budget is None else budget
        fixed = fetch.scratch_bytes + self._predictor.bytes
        slots = min((self.budget - fixed) // slot_bytes, len(layers) * experts)
        if slots < min(LEAST_SLOTS, len(layers) * experts):
            fetch.close()
            least = fixed + LEAST_SLOTS * slot_bytes
            raise EngineError(
                f"{self.budget / 1e6:,.0f} MB of memory hold no experts of this model;"
                f" give it {least / 1e6:,.0f} MB or more."
            )
        self._taken = Taken(self.budget)
        self._taken.add(fixed)
        processor = torch.device("cpu")
        self.memory = Tier(slots, slot_bytes, Kernel(geometry, activation, processor), processor, self._taken)
        self.device = self._device_tier(device, device_budget, activation)
        self.heat = Heat(len(layers) * experts, len(layers))
        self.counters = Counters(routing=np.zeros((len(layers), experts), dtype=np.int64))
        self._reader = Reader(fetch, threads)
        self._placement = Placement(
            self.memory, self.device, self.heat, self._reader, self.counters, layers, experts
        )
        self._one_at_a_time = threading.Lock()
        self._finalizer = weakref.finalize(self, self._reader.close)
        if profile is not None and (known := Profile.load(profile, len(layers), experts)) is not None:
            self._begin_from(known)

    def __enter__(self) -> ExpertStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forward(
        self, layer: int, hidden: torch.Tensor, index: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """hidden [tokens, hidden], index int64 [tokens, k], weight [tokens, k]; returns the type of `hidden`.

        sum over k of weight * expert(hidden), in float32, in ascending order of the experts. An index of
        `experts` and more names none and adds nothing. Raises BadModelFile and EngineError; the store can be
        used after that.
        """
        with self._one_at_a_time:
            return self._forward(self._position[layer], hidden, index, weight)

    @property
    def memory_bytes(self) -> int:
        """What is taken of the budget now."""
        return self._taken.bytes

    def settle(self) -> None:
        """Wait until what is being read ahead is there."""
        self._reader.settle()

    def close(self) -> None:
        """Ends the threads and saves the profile; the end of the store. A second call does nothing."""
        if not self._finalizer.alive:
            return
        self._finalizer()
        self._placement.close()
        self.memory.close()
        if self.device is not None:
            self.device.close()
        if self._profile is not None and self.counters.routing.any():
            self._saved().save(self._profile)

    def _forward(
        self, layer: int, hidden: torch.Tensor, index: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        tokens = hidden.shape[0]
        shares = shares_of(index, weight.float(), self.experts)
        out = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device)
        if not shares:
            return out.to(hidden.dtype)
        self._note(layer, shares, tokens)
        x = hidden.to(self.memory.kernel.takes)
        numbers = [share.n for share in shares]
        by_number = dict(zip(numbers, shares, strict=True))
        any_order = tokens <= IN_ANY_ORDER
        results: dict[int, torch.Tensor] = {}
        order = self._placement.begin(layer, numbers, resident_first=any_order)
        try:
            if tokens == 1 and self._read_ahead:
                likely = self._predictor.likely(layer, np.array(numbers), READ_AHEAD_AT, 2 * len(numbers))
                self._placement.read_ahead((layer + 1) % len(self.layers), likely)
            # An expert that the token names twice has two weights.
            once = tokens == 1 and all(share.tokens == 1 for share in shares)
            if once and (slots := self._placement.all_in_memory()) is not None:
                return self._together(x, shares, slots).to(hidden)
            for n in order:
                share = by_number[n]
                tier, slot = self._placement.next()
                y = _on(tier, slot, x if share.rows is None else x[share.rows]).to(hidden.device)
                self._placement.computed()
                if any_order:
                    results[n] = y
                else:
                    share.add(y, out)
            for n in numbers if any_order else ():
                by_number[n].add(results[n], out)
        finally:
            self._placement.end()
            self.counters.bytes_read = self._reader.bytes_read
        return out.to(hidden.dtype)

    def _together(self, x: torch.Tensor, shares: list[Share], slots: list[int]) -> torch.Tensor:
        """One token, all of whose experts are in memory, in the order of the shares; float32 [1, hidden]."""
        y = self.memory.kernel.run_several(x.cpu(), [self.memory.operands(slot) for slot in slots])
        for _ in shares:
            self._placement.computed()
        y.mul_(torch.cat([share.weight for share in shares]).cpu())
        out, *others = y.split(1)
        for other in others:
            out.add_(other)
        return out

    def _note(self, layer: int, shares: list[Share], tokens: int) -> None:
        chosen = np.array([share.n for share in shares])
        counts = np.array([share.tokens for share in shares])
        self.counters.routing[layer, chosen] += counts
        self.heat.used(layer, chosen + layer * self.experts, counts, tokens)
        if tokens == 1:
            self._predictor.saw(layer, chosen)

    def _device_tier(
        self, device: torch.device | str | None, budget: int, activation: Activation
    ) -> Tier | None:
        if device is None or not budget:
            return None
        place = torch.device(device)
        slots = min(budget // self.memory.slot_bytes, len(self.layers) * self.experts)
        if slots < LEAST_SLOTS:
            return None
        kernel = Kernel(self.geometry, activation, place)
        return Tier(slots, self.memory.slot_bytes, kernel, place, Taken(budget))

    def _begin_from(self, known: Profile) -> None:
        self.heat.seed(known.routing)
        self._predictor.together[:], self._predictor.uses[:] = known.together, known.uses
        hottest = np.argsort(-self.heat.scores, kind="stable")[: self.memory.slots]
        self._placement.warm([int(key) for key in hottest if self.heat.scores[key] > 0])

    def _saved(self) -> Profile:
        return Profile(self.counters.routing, self._predictor.together, self._predictor.uses)


def bytes_for(source: ExpertSource, form: str | None = None) -> tuple[int, int]:
    """The least budget that a store of these experts works with, and what all of them take.

    Of memory, in `form` as `ExpertStore.open` takes it. Raises EngineError, BadModelFile, UnsupportedModel.
    """
    geometry, slot_bytes = _slots_for(source, form)
    if isinstance(source, PackedModel):
        scratch = packed_scratch_bytes(source)
    else:
        scratch = CheckpointFetch(source, geometry).scratch_bytes
    return _least_and_all(scratch, slot_bytes, len(source.expert_layers()), source.expert_count())


def packed_bytes_for(form: str, hidden: int, intermediate: int, layers: int, experts: int) -> tuple[int, int]:
    """The same of a packed model that is not here, by its sizes. Raises UnsupportedModel."""
    geometry = Geometry(form, hidden, intermediate)
    return _least_and_all(READERS * in_place_bytes(geometry), geometry.bytes, layers, experts)


def _least_and_all(scratch: int, slot_bytes: int, layers: int, experts: int) -> tuple[int, int]:
    fixed, every = scratch + Predictor(layers, experts).bytes, layers * experts
    return fixed + min(LEAST_SLOTS, every) * slot_bytes, fixed + every * slot_bytes


def _slots_for(source: ExpertSource, form: str | None) -> tuple[Geometry, int]:
    """How an expert lies in memory, and what a slot takes that holds any of them, also while it is read."""
    if isinstance(source, PackedModel):
        if form not in (None, source.form):
            raise EngineError(f"{source.path} is packed as {source.form}, not as {form}; convert it again.")
        geometry = next(iter(source.layers.values())).geometry.loaded
        return geometry, max(geometry.bytes, *(layer.geometry.bytes for layer in source.layers.values()))
    first = source.expert(source.expert_layers()[0], 0)
    intermediate, hidden = first.gate.shape
    geometry = Geometry(form or "float32", hidden, intermediate, first.biases is not None)
    return geometry, geometry.bytes


def _on(tier: Tier, slot: int, x: torch.Tensor) -> torch.Tensor:
    return tier.kernel.run(x.to(tier.device), tier.operands(slot))
