"""Writing the packed form: one expert at a time, resumable at any byte, whole or not there.

Everything is written into `NAME.partial` beside the final folder: data first, flushed to the disk, then one
line in a journal that says so. A conversion that was killed reads the journal, goes on after its last whole
line, and writes no finished record again. The manifest comes last; then the folder gets its name, in one
step.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from engine.errors import BadModelFile, EngineError
from engine.experts.grouped import refuse_non_finite
from engine.experts.packed import DENSE, FORMAT, KINDS, MANIFEST, VERSION, PackedModel, layer_file
from engine.experts.record import Geometry, fill, kept_of
from engine.experts.source import Convertible, Progress, Weight
from engine.gguf_tokenizer import TOKENIZER_GGUF, copy_tokenizer
from engine.sentencepiece_file import models_in

JOURNAL = "journal.jsonl"
RESERVE = 64 << 20
"""Bytes that stay free on the disk."""
ROWS_AT_ONCE = 4 << 20
"""Values of a dense tensor that are in memory as float32 at a time."""
BESIDE = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tekken.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
    "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
"""Files of a model folder that go along as they are, and with them each `tokenizer.model`."""


def convert(
    source: Convertible,
    target: Path,
    *,
    form: str = "int4",
    progress: Progress | None = None,
    beside: Sequence[Path] | None = None,
) -> PackedModel:
    """Write `source` as a packed model at `target`, a folder that does not exist yet.

    `form` is "int4", "int8", "bfloat16" or "float32", for the routed experts. Dense tensors keep 32 or 16
    bits; any other kind becomes bfloat16, or float32 where it has one dimension. `beside` names small files
    to copy; left out, the tokenizer's files of the source's folder, or the tokenizer within a GGUF file.
    Raises EngineError (the disk is full, the name is taken, another conversion is at work), BadModelFile or
    UnsupportedModel; what is finished stays in `target.partial` for the next call.
    """
    if target.exists() or target.is_symlink():
        raise EngineError(f"{target} exists already; name another folder or remove it.")
    plan = _Plan.of(source, form)
    folder = target.with_name(target.name + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Journal(folder, plan.identity) as journal:
            _refuse_full_disk(folder, plan, target)
            _write_all(source, folder, plan, journal, progress)
            for file in beside if beside is not None else _beside(source.path):
                shutil.copyfile(file, folder / file.name)
            if beside is None and source.path.is_file():
                copy_tokenizer(source.path, folder / TOKENIZER_GGUF)
            _write_whole(folder / MANIFEST, json.dumps(plan.manifest(journal), ensure_ascii=False).encode())
            PackedModel(folder)
            _flush(folder)
            folder.rename(target)
            _flush(target.parent)
            # Not before: a folder without a journal would be begun again.
            os.unlink(target / JOURNAL)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EngineError(
                f"The disk with {target.parent} is full; make room and run the command again: it goes on."
            ) from None
        raise EngineError(f"{target} cannot be written ({error}); choose another place.") from None
    return PackedModel(target)


@dataclass(frozen=True)
class _Dense:
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int

    @property
    def bytes(self) -> int:
        return prod(self.shape) * KINDS[self.kind].itemsize


@dataclass(frozen=True)
class _Plan:
    """Everything that is known before the first byte is written."""

    identity: dict[str, Any]
    config: dict[str, Any]
    layers: dict[int, Geometry]
    experts: int
    header: bytes
    dense: list[_Dense]
    files: dict[str, int] = field(default_factory=dict)
    """Name to final size."""

    @classmethod
    def of(cls, source: Convertible, form: str) -> _Plan:
        numbers = list(source.expert_layers())
        if not numbers:
            raise EngineError(f"{source.path} has no routed experts; a dense model needs no conversion.")
        layers: dict[int, Geometry] = {}
        for number in numbers:
            first = source.expert(number, 0)
            intermediate, hidden = first.gate.shape
            kept = kept_of(first) if form == "int4" else ()
            layers[number] = Geometry(form, hidden, intermediate, first.biases is not None, kept)
        if len({(one.hidden, one.intermediate, one.biased) for one in layers.values()}) > 1:
            raise BadModelFile(f"The experts of {source.path} differ in size between layers.")
        dense, header = _dense_plan(source)
        experts = source.expert_count()
        files = {layer_file(number): experts * one.bytes for number, one in layers.items()}
        files[DENSE] = len(header) + sum(one.bytes for one in dense)
        described = {str(number): [one.bytes, list(one.kept)] for number, one in layers.items()}
        identity = {
            "version": VERSION, "source": str(source.path.resolve()), "changed": _changed(source.path),
            "form": form, "experts": experts, "layers": described, "header": zlib.crc32(header),
        }  # fmt: skip
        return cls(identity, source.config, layers, experts, header, dense, files)

    @property
    def total(self) -> int:
        return sum(self.files.values())

    def manifest(self, journal: _Journal) -> dict[str, Any]:
        one = next(iter(self.layers.values()))
        return {
            "format": FORMAT,
            "version": VERSION,
            "form": one.form,
            "hidden": one.hidden,
            "intermediate": one.intermediate,
            "biased": one.biased,
            "experts": self.experts,
            "layers": [
                {
                    "layer": number,
                    "kept": list(geometry.kept),
                    "record_bytes": geometry.bytes,
                    "checksums": [journal.records[number, n] for n in range(self.experts)],
                }
                for number, geometry in self.layers.items()
            ],
            "dense": {one.name: journal.dense[one.name] for one in self.dense},
            "config": self.config,
        }


class _Journal:
    """What is finished. One conversion at a time holds it."""

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.records: dict[tuple[int, int], int] = {}
        self.dense: dict[str, int] = {}
        self._folder = folder
        self._file: BinaryIO = (folder / JOURNAL).open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise EngineError(f"Another conversion is writing {folder}; wait for it to end.") from None
        try:
            self._read(identity)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: dict[str, Any]) -> None:
        """One line, on the disk when this returns. What it speaks of is there already."""
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._note(entry)

    def _read(self, identity: dict[str, Any]) -> None:
        self._file.seek(0)
        raw = self._file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            self._file.truncate(len(whole))
        try:
            entries = [json.loads(line) for line in whole.splitlines()]
            if not entries:
                return self.add(identity)
            if entries[0] != json.loads(json.dumps(identity)):
                raise EngineError(
                    f"{self._folder} is another conversion's beginning (other source or form);"
                    " remove it first."
                )
            for entry in entries[1:]:
                self._note(entry)
        except (ValueError, KeyError, TypeError):
            raise EngineError(f"The journal of {self._folder} is damaged; remove that folder.") from None
        return None

    def _note(self, entry: dict[str, Any]) -> None:
        if "expert" in entry:
            self.records[entry["layer"], entry["expert"]] = entry["checksum"]
        elif "tensor" in entry:
            self.dense[entry["tensor"]] = entry["checksum"]


def _dense_plan(source: Convertible) -> tuple[list[_Dense], bytes]:
    """The dense tensors with their places, and the file's header."""
    planned: list[tuple[str, str, tuple[int, ...]]] = []
    for name in source.names():
        weight = source.weight(name)
        kind = weight.kind if weight.kind in KINDS else ("BF16" if len(weight.shape) > 1 else "F32")
        planned.append((name, kind, tuple(weight.shape)))
    entries: dict[str, Any] = {}
    at = 0
    for name, kind, shape in planned:
        size = prod(shape) * KINDS[kind].itemsize
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 64 + 56)  # data begin at a multiple of 64: 8 bytes of length, then this
    header = len(text).to_bytes(8, "little") + text
    starts = [len(header) + entries[name]["data_offsets"][0] for name, _, _ in planned]
    return [_Dense(*one, start) for one, start in zip(planned, starts, strict=True)], header


def _write_all(
    source: Convertible, folder: Path, plan: _Plan, journal: _Journal, progress: Progress | None
) -> None:
    done = 0

    def note(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, plan.total)

    with _opened(folder / DENSE) as file:
        os.pwrite(file, plan.header, 0)
        for one in plan.dense:
            if one.name not in journal.dense:
                checksum = _write_dense(file, source.weight(one.name), one)
                os.fdatasync(file)
                journal.add({"tensor": one.name, "checksum": checksum})
                source.release()
            note(one.bytes)
        os.ftruncate(file, plan.files[DENSE])
        os.fsync(file)
    note(len(plan.header))
    for number, geometry in plan.layers.items():
        record = torch.empty(geometry.bytes, dtype=torch.uint8)
        with _opened(folder / layer_file(number)) as file:
            for n in range(plan.experts):
                if (number, n) not in journal.records:
                    fill(
                        geometry,
                        source.expert(number, n),
                        record,
                        f"Layer {number}, expert {n} of {source.path}",
                    )
                    data = record.numpy().data
                    _write_at(file, data, n * geometry.bytes)
                    os.fdatasync(file)
                    journal.add({"layer": number, "expert": n, "checksum": zlib.crc32(data)})
                    source.release()
                note(geometry.bytes)
            os.fsync(file)


def _write_dense(file: int, weight: Weight, one: _Dense) -> int:
    """A tensor, some rows at a time; returns its checksum."""
    kind, at, checksum = KINDS[one.kind], one.start, 0
    for block in _blocks(weight):
        refuse_non_finite(block, one.name)
        narrow = block.to(kind).contiguous()
        refuse_non_finite(narrow, one.name)
        data = narrow.view(-1).view(torch.uint8).numpy().data
        _write_at(file, data, at)
        checksum = zlib.crc32(data, checksum)
        at += len(data)
    if at - one.start != one.bytes:
        raise BadModelFile(f"{one.name} does not have the shape {one.shape} that its file names.")
    return checksum


def _blocks(weight: Weight) -> Iterator[torch.Tensor]:
    if not prod(weight.shape):
        return
    if len(weight.shape) != 2:
        yield weight.floats()
        return
    rows, columns = weight.shape
    step = max(1, ROWS_AT_ONCE // columns)
    for start in range(0, rows, step):
        yield weight.rows(start, min(start + step, rows))


def _refuse_full_disk(folder: Path, plan: _Plan, target: Path) -> None:
    written = sum(
        min((folder / name).stat().st_blocks * 512, size)
        for name, size in plan.files.items()
        if (folder / name).exists()
    )
    missing, free = plan.total - written + RESERVE, shutil.disk_usage(folder).free
    if missing > free:
        raise EngineError(
            f"{target} needs {missing / 1e9:.1f} GB more on its disk, which has {free / 1e9:.1f} GB free;"
            " make room or name another folder."
        )


def _changed(path: Path) -> list[int]:
    """What tells one state of the source from another: sizes and times of its files."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    states = [file.stat() for file in files if file.exists()]
    return [value for state in states for value in (state.st_size, state.st_mtime_ns)]


def _beside(path: Path) -> list[Path]:
    named = [path / name for name in BESIDE]
    return [file for file in (*named, *models_in(path)) if file.is_file()]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def _write_at(file: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written


def _write_whole(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
