"""A model in the packed form: a folder that `convert` wrote. Each record is checked when it is first read.

manifest.json        what is there, with a checksum for each record; written last
dense.safetensors    everything but the routed experts
experts-NNN.bin      one file a layer, one record an expert (`record` says how)
and the tokenizer's files, as they were
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints import GroupedInts
from engine.errors import BadModelFile, ModelNotFound, UnsupportedModel
from engine.experts.record import FORMS, MATRICES, Geometry, grouped_of, matrix_floats

MANIFEST, DENSE = "manifest.json", "dense.safetensors"
FORMAT, VERSION = "ostro-packed", 1
MAX_MANIFEST = 256 << 20
MAX_HEADER = 64 << 20
MAX_SIDE = 1 << 20
"""Largest hidden or intermediate size that is believed."""
MAX_EXPERTS, MAX_LAYERS = 65_536, 65_536
KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def layer_file(layer: int) -> str:
    return f"experts-{layer:03d}.bin"


def is_packed(path: Path) -> bool:
    """Whether this folder says of itself that it is a packed model; it may still be a broken one."""
    return (path / MANIFEST).is_file() and any(path.glob("experts-*.bin"))


@dataclass(frozen=True)
class PackedLayer:
    geometry: Geometry
    path: Path
    checksums: tuple[int, ...]
    """CRC-32 of each record."""


class PackedModel:
    """An `engine.checkpoints` Checkpoint. Raises ModelNotFound, BadModelFile or UnsupportedModel."""

    layout = "packed"

    def __init__(self, path: Path):
        self.path = path
        manifest = _read_manifest(path)
        self._checked: set[tuple[int, int]] = set()
        self._maps: dict[Path, mmap.mmap] = {}
        self.config: dict[str, Any] = manifest["config"]
        self.layers: dict[int, PackedLayer] = _layers(path, manifest)
        self._dense = _dense_entries(path / DENSE)
        checksums = manifest.get("dense")
        if not isinstance(checksums, dict) or checksums.keys() != self._dense.keys():
            raise _lies(path / MANIFEST, f"its tensors are not those of {DENSE}")
        self._dense_checksums: dict[str, Any] = checksums
        self._dense_checked: set[str] = set()

    @property
    def form(self) -> str:
        return next(iter(self.layers.values())).geometry.form

    def names(self) -> Sequence[str]:
        return tuple(self._dense)

    def weight(self, name: str) -> PackedTensor:
        if name not in self._dense:
            raise BadModelFile(f"{self.path} has no tensor {name}; convert the model again.")
        kind, shape, start = self._dense[name]
        return PackedTensor(self, name, kind, shape, start)

    def expert_layers(self) -> Sequence[int]:
        return tuple(self.layers)

    def expert_count(self) -> int:
        return len(next(iter(self.layers.values())).checksums)

    def expert(self, layer: int, n: int) -> PackedExpert:
        return PackedExpert(self, layer, n)

    def record(self, layer: int, n: int) -> torch.Tensor:
        """uint8 [record bytes], mapped, checked when first read; not to be written to."""
        packed = self.layers[layer]
        size = packed.geometry.bytes
        view = self.mapped(packed.path)[n * size : (n + 1) * size]
        if (layer, n) not in self._checked:
            self.check(layer, n, view)
        return torch.frombuffer(view, dtype=torch.uint8)

    def check(self, layer: int, n: int, record: Any) -> None:
        """Compare bytes that were read with the manifest. Raises BadModelFile."""
        if zlib.crc32(record) != self.layers[layer].checksums[n]:
            raise BadModelFile(
                f"{self.layers[layer].path} is damaged: expert {n} is not what was written; convert it again."
            )
        self._checked.add((layer, n))

    def checked(self, layer: int, n: int) -> bool:
        return (layer, n) in self._checked

    def check_dense(self, name: str, data: Any) -> None:
        """The same for a dense tensor."""
        if name in self._dense_checked:
            return
        if zlib.crc32(data) != self._dense_checksums[name]:
            raise BadModelFile(
                f"{self.path / DENSE} is damaged: {name} is not what was written; convert it again."
            )
        self._dense_checked.add(name)

    def mapped(self, path: Path) -> memoryview:
        """The whole file, privately mapped (so that torch may hold views of it) and never written."""
        if path not in self._maps:
            try:
                with path.open("rb") as file:
                    self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            except (OSError, ValueError) as error:
                raise BadModelFile(f"{path} cannot be read ({error}); convert the model again.") from None
        return memoryview(self._maps[path])

    def release(self) -> None:
        """Let go of the pages read so far."""
        for mapped in self._maps.values():
            mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class PackedTensor:
    """A dense tensor."""

    model: PackedModel
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int

    @property
    def stored_bytes(self) -> int:
        return prod(self.shape) * KINDS[self.kind].itemsize

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """float32 [stop - start, columns]"""
        return self._stored()[start:stop].float()

    def floats(self) -> torch.Tensor:
        return self._stored().float()

    def blocks(self) -> GroupedInts | None:
        return None

    def _stored(self) -> torch.Tensor:
        view = self.model.mapped(self.model.path / DENSE)[self.start : self.start + self.stored_bytes]
        self.model.check_dense(self.name, view)
        if not self.stored_bytes:
            return torch.empty(self.shape, dtype=KINDS[self.kind])
        return torch.frombuffer(view, dtype=torch.uint8).view(KINDS[self.kind]).view(self.shape)


@dataclass(frozen=True)
class PackedExpert:
    """An expert as the three matrices of a checkpoint."""

    model: PackedModel
    layer: int
    n: int

    @property
    def gate(self) -> PackedMatrix:
        half = self._geometry.intermediate
        return PackedMatrix(self, "gate_up", 0, half)

    @property
    def up(self) -> PackedMatrix:
        half = self._geometry.intermediate
        return PackedMatrix(self, "gate_up", half, 2 * half)

    @property
    def down(self) -> PackedMatrix:
        return PackedMatrix(self, "down", 0, self._geometry.hidden)

    @property
    def biases(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        geometry = self._geometry
        if not geometry.biased:
            return None
        record = self.model.record(self.layer, self.n)
        both = geometry.parts["gate_up.bias"].of(record)
        gate, up = both.split(geometry.intermediate)
        return gate, up, geometry.parts["down.bias"].of(record)

    @property
    def _geometry(self) -> Geometry:
        return self.model.layers[self.layer].geometry


@dataclass(frozen=True)
class PackedMatrix:
    """Rows [first, last) of one of a record's matrices."""

    expert: PackedExpert
    matrix: str
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"layer {self.expert.layer}, expert {self.expert.n}, {self.matrix}"

    @property
    def kind(self) -> str:
        return self.expert.model.form

    @property
    def shape(self) -> tuple[int, ...]:
        return self.last - self.first, self._geometry.matrix(self.matrix)[1]

    @property
    def stored_bytes(self) -> int:
        rows, _ = self._geometry.matrix(self.matrix)
        parts = [part for name, part in self._geometry.parts.items() if name.startswith(f"{self.matrix}.")]
        return sum(part.bytes for part in parts) * (self.last - self.first) // rows

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.floats()[start:stop]

    def floats(self) -> torch.Tensor:
        return matrix_floats(self._geometry, self._record, self.matrix)[self.first : self.last]

    def blocks(self) -> GroupedInts | None:
        return grouped_of(self._geometry, self._record, self.matrix, self.first, self.last)

    @property
    def _geometry(self) -> Geometry:
        return self.expert.model.layers[self.expert.layer].geometry

    @property
    def _record(self) -> torch.Tensor:
        return self.expert.model.record(self.expert.layer, self.expert.n)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        if file.stat().st_size > MAX_MANIFEST:
            raise BadModelFile(f"{file} is too large to be a manifest; convert the model again.")
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ModelNotFound(f"There is no packed model at {path}: it has no {MANIFEST}.") from None
    except (OSError, ValueError, RecursionError):
        raise BadModelFile(f"{file} cannot be read as a manifest; convert the model again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadModelFile(f"{file} is not the manifest of a packed model; name another folder.")
    if manifest.get("version") != VERSION:
        raise UnsupportedModel(
            f"{path} is packed form {manifest.get('version')!r}; this Ostro reads {VERSION}."
        )
    if not isinstance(manifest.get("config"), dict):
        raise _lies(file, "it has no config")
    return manifest


def _layers(path: Path, manifest: dict[str, Any]) -> dict[int, PackedLayer]:
    file = path / MANIFEST
    form, biased = manifest.get("form"), manifest.get("biased")
    hidden = _number(manifest, "hidden", file, MAX_SIDE)
    intermediate = _number(manifest, "intermediate", file, MAX_SIDE)
    experts = _number(manifest, "experts", file, MAX_EXPERTS)
    entries = manifest.get("layers")
    if form not in FORMS or not isinstance(biased, bool):
        raise _lies(file, "its form is unknown")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_LAYERS:
        raise _lies(file, "it names no layers")
    layers: dict[int, PackedLayer] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise _lies(file, "a layer is not an object")
        number, kept, checksums = entry.get("layer"), entry.get("kept"), entry.get("checksums")
        if type(number) is not int or not 0 <= number < MAX_LAYERS or number in layers:
            raise _lies(file, f"the layer {number!r} is not a number of its own")
        if not isinstance(kept, list) or any(name not in MATRICES for name in kept):
            raise _lies(file, f"layer {number} keeps scales of unknown matrices")
        if not isinstance(checksums, list) or len(checksums) != experts:
            raise _lies(file, f"layer {number} does not have one checksum for each of {experts} experts")
        if any(type(checksum) is not int for checksum in checksums):
            raise _lies(file, f"a checksum of layer {number} is not a number")
        geometry = Geometry(form, hidden, intermediate, biased, tuple(kept))
        if entry.get("record_bytes") != geometry.bytes:
            raise _lies(file, f"records of layer {number} cannot have {entry.get('record_bytes')!r} bytes")
        records = path / layer_file(number)
        _expect_size(records, experts * geometry.bytes)
        layers[number] = PackedLayer(geometry, records, tuple(checksums))
    return layers


def _expect_size(path: Path, expected: int) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        raise BadModelFile(f"{path} is missing; convert the model again.") from None
    if size != expected:
        raise BadModelFile(
            f"{path} has {size:,} bytes instead of {expected:,} (truncated?); convert it again."
        )


def _dense_entries(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Name to kind, shape and offset in the file; everything the header says is checked."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise ValueError
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise BadModelFile(f"{path} cannot be read as tensors; convert the model again.") from None
    header.pop("__metadata__", None)
    entries: dict[str, tuple[str, tuple[int, ...], int]] = {}
    at = 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            kind, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            if kind not in KINDS or any(type(side) is not int or side < 0 for side in shape):
                raise ValueError
            if start != at or stop - start != prod(shape) * KINDS[kind].itemsize:
                raise ValueError
            entries[name] = (kind, shape, 8 + length + start)
            at = stop
    except (KeyError, TypeError, ValueError):
        raise BadModelFile(f"The header of {path} contradicts itself; convert the model again.") from None
    _expect_size(path, 8 + length + at)
    return entries


def _number(manifest: dict[str, Any], key: str, file: Path, most: int) -> int:
    value = manifest.get(key)
    if type(value) is not int or not 0 < value <= most:
        raise _lies(file, f"its {key} is {value!r}")
    return value


def _lies(file: Path, why: str) -> BadModelFile:
    return BadModelFile(f"{file} does not describe a packed model: {why}; convert the model again.")
