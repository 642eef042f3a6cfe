"""Reading a GGUF file: its metadata, and its tensors as views of the mapped file.

The header is parsed here rather than by the `gguf` package's reader, which makes one array object per
vocabulary entry and so takes seconds where this takes a fraction of one; block layouts and
dequantisation are the package's. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from engine.errors import BadModelFile, ModelNotFound, UnsupportedModel

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
STRING, ARRAY = 8, 9
SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file: `shape` in rows-first order, `data` its bytes, one row of blocks a row."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    data: np.ndarray

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as float32, shape [stop - start, columns]."""
        return self._floats(self.data[start:stop])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The named rows as float32, shape [len(rows), columns]."""
        return self._floats(self.data[rows])

    def floats(self) -> np.ndarray:
        """The whole tensor as float32, for the small ones (norms, biases)."""
        return self._floats(self.data).reshape(self.shape)

    def _floats(self, blocks: np.ndarray) -> np.ndarray:
        return dequantize(np.ascontiguousarray(blocks), self.kind)


class GgufFile:
    """A validated, memory-mapped GGUF file. Raises ModelNotFound, BadModelFile or UnsupportedModel."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise ModelNotFound(f"There is no model file at {path}.") from None
        except (OSError, ValueError) as error:
            raise BadModelFile(f"{path} cannot be read as a model file ({error}).") from None
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self._at = 0
        try:
            self._read_header()
        except (struct.error, ValueError, IndexError, OverflowError, MemoryError, RecursionError):
            raise self._broken("its header is cut off or damaged") from None

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def value(self, key: str) -> Any:
        """A metadata value of this architecture, e.g. `value("block_count")`."""
        full = f"{self.architecture}.{key}"
        if full not in self.metadata:
            raise self._broken(f"its metadata lacks {full}")
        return self.metadata[full]

    def tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise self._broken(f"it has no tensor {name}")
        return self.tensors[name]

    def release(self) -> None:
        """Let go of the pages read so far; what is read again is mapped again."""
        self._bytes.madvise(mmap.MADV_DONTNEED)

    def _broken(self, why: str) -> BadModelFile:
        return BadModelFile(f"{self.path} is not a usable GGUF file: {why}; fetch it again.")

    def _read_header(self) -> None:
        if self._bytes[:4] != MAGIC:
            raise BadModelFile(f"{self.path} is not a GGUF file; name one, or a model of the catalogue.")
        self._at = 4
        version = self._scalar("<I")
        if version not in VERSIONS:
            raise UnsupportedModel(f"{self.path} is GGUF version {version}; versions 2 and 3 can be read.")
        tensor_count, value_count = self._scalar("<Q"), self._scalar("<Q")
        for _ in range(value_count):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("<I"))
        self._read_tensors([self._tensor_entry() for _ in range(tensor_count)])

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self._string(), self._scalar("<I")
        if dimensions > MAX_DIMENSIONS:
            raise self._broken(f"tensor {name!r} claims {dimensions} dimensions")
        shape = tuple(self._scalar("<Q") for _ in range(dimensions))
        return name, shape[::-1], self._scalar("<I"), self._scalar("<Q")

    def _read_tensors(self, entries: list[tuple[str, tuple[int, ...], int, int]]) -> None:
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise self._broken("its alignment is not a positive number")
        base = -(-self._at // alignment) * alignment
        whole = np.frombuffer(self._bytes, dtype=np.uint8)
        ranges: list[tuple[int, int]] = []
        for name, shape, number, offset in entries:
            try:
                kind = GGMLQuantizationType(number)
            except ValueError:
                raise UnsupportedModel(f"{self.path}: tensor {name} has the unknown type {number}.") from None
            block, size = GGML_QUANT_SIZES[kind]
            columns = shape[-1] if shape else 1
            if columns % block:
                raise self._broken(f"rows of {name} do not fill whole blocks")
            row_bytes = columns // block * size
            rows = prod(shape[:-1])
            begin, end = base + offset, base + offset + rows * row_bytes
            if end > len(whole):
                raise self._broken(f"it ends before the data of {name} ({len(whole):,} bytes, truncated?)")
            if name in self.tensors:
                raise self._broken(f"it has the tensor {name} twice")
            data = whole[begin:end].reshape(rows, row_bytes)
            ranges.append((begin, end))
            self.tensors[name] = Tensor(name, shape, kind, data)
        if any(before[1] > after[0] for before, after in pairwise(sorted(ranges))):
            raise self._broken("its tensors overlap")

    def _scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(code, self._bytes, self._at)
        self._at += struct.calcsize(code)
        return value

    def _string(self) -> str:
        length = self._scalar("<Q")
        if length > len(self._bytes) - self._at:
            raise IndexError
        raw = self._bytes[self._at : self._at + length]
        self._at += length
        return raw.decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            element, count = self._scalar("<I"), self._scalar("<Q")
            if count > len(self._bytes) - self._at:
                raise IndexError
            return [self._value(element) for _ in range(count)]
        if kind not in SCALARS:
            raise self._broken(f"a metadata value has the unknown type {kind}")
        return self._scalar(SCALARS[kind])
