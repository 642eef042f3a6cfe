"""Bringing one expert into a slot: from a packed file past the page cache, or from any other checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from engine.errors import BadModelFile
from engine.experts.grouped import SUPER
from engine.experts.packed import PackedModel
from engine.experts.reader import Load
from engine.experts.record import MATRICES, Geometry, fill, scales_of
from engine.experts.source import ExpertSource
from engine.experts.tiles import TILE, native_order

PIECE = 1 << 20
"""Bytes of one read: small enough that several threads share a record."""
READERS = 4


def in_place(geometry: Geometry, slot: torch.Tensor) -> None:
    """A record in the order on disk becomes one in the kernel's, where it lies."""
    _turn_scales(geometry, slot)
    _turn_values(geometry, slot)


def in_place_bytes(geometry: Geometry) -> int:
    """The most memory `in_place` takes beside the slot."""
    if geometry.form != "int4":
        return 0
    columns = max(geometry.hidden, geometry.intermediate)
    rows = max(-(-geometry.matrix(name)[0] // TILE) * TILE for name in MATRICES)
    # A tile and what numpy makes of it; the units and levels, and one super-block's scales in three steps.
    own = sum(part.bytes for name, part in geometry.parts.items() if name.endswith((".units", ".levels")))
    return 3 * columns * TILE // 2 + own + 4 * SUPER * rows * 2 * 4


def packed_scratch_bytes(model: PackedModel) -> int:
    """Memory beside the slots, all readers of a packed model together."""
    return READERS * max(in_place_bytes(layer.geometry) for layer in model.layers.values())


class PackedFetch:
    """Positioned reads of a packed model's layer files."""

    def __init__(self, model: PackedModel):
        self._model = model
        self._files = {number: _open(layer.path) for number, layer in model.layers.items()}

    @property
    def scratch_bytes(self) -> int:
        return packed_scratch_bytes(self._model)

    def pieces(self, layer: int, n: int) -> Sequence[tuple[int, int]]:
        size = self._model.layers[layer].geometry.bytes
        return [(at, min(PIECE, size - at)) for at in range(0, size, PIECE)]

    def read(self, load: Load, offset: int, length: int) -> None:
        file, direct = self._files[load.layer]
        at = load.n * self._model.layers[load.layer].geometry.bytes + offset
        view = load.memory.numpy().data[offset : offset + length]
        while view:
            try:
                got = os.preadv(file, [view], at)
            except OSError as error:
                raise self._bad(load, f"cannot be read ({error})") from None
            if got == 0:
                raise self._bad(load, "ends too early (truncated?)")
            view, at = view[got:], at + got
        if not direct:
            # What is in a slot need not be in the page cache as well.
            os.posix_fadvise(file, at - length, length, os.POSIX_FADV_DONTNEED)

    def finish(self, load: Load) -> None:
        geometry = self._model.layers[load.layer].geometry
        if not self._model.checked(load.layer, load.n):
            record = load.memory[: geometry.bytes]
            self._model.check(load.layer, load.n, record.numpy().data)
            for name, part in geometry.parts.items():
                if name.endswith((".scales", ".units", ".bias")) and not _finite(part.of(record)):
                    raise self._bad(load, f"has a scale in expert {load.n} that is not a finite number")
        in_place(geometry, load.memory)

    def close(self) -> None:
        for file, _ in self._files.values():
            os.close(file)
        self._files = {}

    def _bad(self, load: Load, what: str) -> BadModelFile:
        return BadModelFile(f"{self._model.layers[load.layer].path} {what}; convert the model again.")


class CheckpointFetch:
    """Experts of a checkpoint that is not packed: made into records as they are asked for."""

    def __init__(self, source: ExpertSource, geometry: Geometry):
        self._source, self._geometry = source, geometry

    @property
    def scratch_bytes(self) -> int:
        """Of the one thread: a matrix in float32, and the steps of rounding it."""
        widest = self._geometry.hidden * self._geometry.intermediate * 4
        return 4 * widest + in_place_bytes(self._geometry)

    def pieces(self, layer: int, n: int) -> Sequence[tuple[int, int]]:
        return [(0, self._geometry.bytes)]

    def read(self, load: Load, offset: int, length: int) -> None:
        name = f"Layer {load.layer}, expert {load.n} of {self._source.path}"
        record = load.memory[: self._geometry.bytes]
        fill(self._geometry, self._source.expert(load.layer, load.n), record, name)
        self._source.release()

    def finish(self, load: Load) -> None:
        in_place(self._geometry, load.memory)

    def close(self) -> None:
        pass


def _open(path: os.PathLike[str]) -> tuple[int, bool]:
    """A handle, and whether it reads past the page cache."""
    try:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECT", 0)), hasattr(
                os, "O_DIRECT"
            )
        except OSError:  # tmpfs and some others have no direct reads
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read ({error}); convert the model again.") from None


def _turn_values(geometry: Geometry, slot: torch.Tensor) -> None:
    turn = native_order().turn
    if geometry.form != "int4" or turn is None:
        return
    for name in MATRICES:
        values = geometry.parts[f"{name}.values"].of(slot).numpy()
        before = np.empty_like(values[:1])
        for tile in range(len(values)):
            before[0] = values[tile]
            turn(before, values[tile : tile + 1])


def _turn_scales(geometry: Geometry, slot: torch.Tensor) -> None:
    """Q4_K's units and levels to scale and zero. The stored parts are copied out first: they lie where the
    others will."""
    if not geometry.kept:
        return
    stored = {
        name: part.of(slot).clone() for name, part in geometry.parts.items() if not name.endswith(".values")
    }
    loaded = geometry.loaded.parts
    for name, part in loaded.items():
        if name.endswith(".values"):
            continue
        target = part.of(slot)
        if name in stored:
            target.copy_(stored[name])
            continue
        matrix = name.removesuffix(".scales")
        units, levels = stored[f"{matrix}.units"], stored[f"{matrix}.levels"]
        for n in range(len(units)):
            groups = slice(n * SUPER, (n + 1) * SUPER)
            target[groups].copy_(scales_of(units[n : n + 1], levels[groups]))


def _finite(part: torch.Tensor) -> bool:
    return bool(torch.isfinite(part).all())
