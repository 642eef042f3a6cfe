"""A safetensors file: its header checked here, its tensors read by position.

Read with `pread` rather than mapped, so that a file that shrinks under us is an error and not a signal.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints.folder import open_inside, parse_object
from engine.errors import BadModelFile, UnsupportedModel

HEADER_LIMIT = 100_000_000
"""The reference implementation's own limit."""
MAX_DIMENSIONS = 8
DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.uint8,
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file: `dtype` by the format's name, bytes [begin, end) of the file."""

    file: SafetensorsFile
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def stored_bytes(self) -> int:
        return self.end - self.begin

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop) of the tensor as a matrix, in its own dtype: [stop - start, columns]."""
        columns = self.shape[-1] if self.shape else 1
        width = columns * DTYPES[self.dtype].itemsize
        raw = self.file.read(self.begin + start * width, (stop - start) * width, self.name)
        return raw.view(DTYPES[self.dtype]).reshape(stop - start, columns)

    def whole(self) -> torch.Tensor:
        return self.rows(0, prod(self.shape[:-1])).reshape(self.shape)


class SafetensorsFile:
    """A validated file of a folder. Raises BadModelFile or UnsupportedModel."""

    def __init__(self, folder: Path, name: str):
        self.path = folder / name
        self._descriptor = open_inside(folder, name)
        weakref.finalize(self, os.close, self._descriptor)
        self.tensors = self._read_header()

    def read(self, at: int, count: int, what: str) -> torch.Tensor:
        """`count` bytes from position `at`, uint8 [count]."""
        raw, done = bytearray(count), 0
        while done < count:
            try:
                got = os.preadv(self._descriptor, [memoryview(raw)[done:]], at + done)
            except OSError as error:
                raise BadModelFile(f"{self.path} cannot be read ({error.strerror}).") from None
            if not got:
                raise self._broken(f"it ends before the data of {what}")
            done += got
        return torch.frombuffer(raw, dtype=torch.uint8) if count else torch.empty(0, dtype=torch.uint8)

    def release(self) -> None:
        """Let go of the file's pages in the page cache."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _broken(self, why: str) -> BadModelFile:
        return BadModelFile(f"{self.path} is not a usable safetensors file: {why}; fetch it again.")

    def _read_header(self) -> dict[str, StoredTensor]:
        size = os.fstat(self._descriptor).st_size
        if size < 8:
            raise self._broken("it is too short for a header")
        length = int.from_bytes(self.read(0, 8, "its header").numpy().tobytes(), "little")
        if length > min(size - 8, HEADER_LIMIT):
            raise self._broken(f"it claims a header of {length:,} bytes in a file of {size:,} (truncated?)")
        header = self.read(8, length, "its header").numpy().tobytes()
        entries = parse_object(header, f"The header of {self.path}")
        entries.pop("__metadata__", None)
        base = 8 + length
        tensors = {name: self._entry(name, entry, base, size) for name, entry in entries.items()}
        self._check_cover(list(tensors.values()), base, size)
        return tensors

    def _entry(self, name: str, entry: Any, base: int, size: int) -> StoredTensor:
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self._broken(f"the entry of {_short(name)} is not a dtype, a shape and offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise UnsupportedModel(f"{self.path}: {_short(name)} has the unknown dtype {_short(dtype)}.")
        if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS:
            raise self._broken(f"the shape of {_short(name)} is not a short list of whole numbers")
        if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise self._broken(f"the offsets of {_short(name)} are not a begin and an end")
        begin, end = offsets
        if end - begin != prod(shape) * DTYPES[dtype].itemsize:
            raise self._broken(f"the data of {_short(name)} are not of the size that its shape says")
        if base + end > size:
            raise self._broken(f"it ends before the data of {_short(name)} ({size:,} bytes, truncated?)")
        return StoredTensor(self, name, dtype, tuple(shape), base + begin, base + end)

    def _check_cover(self, tensors: list[StoredTensor], base: int, size: int) -> None:
        """The data must lie one after the other, from the header to the end, as the format demands."""
        edges = sorted((tensor.begin, tensor.end) for tensor in tensors)
        if any(before[1] != after[0] for before, after in pairwise(edges)):
            raise self._broken("its tensors overlap or leave holes")
        if edges and (edges[0][0] != base or edges[-1][1] != size):
            raise self._broken("its tensors are not the whole of its data")


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
