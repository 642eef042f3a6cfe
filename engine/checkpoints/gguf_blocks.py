"""GGUF's block formats as whole numbers in groups, where that loses nothing.

Each function takes uint8 [blocks, bytes of a block] and gives the numbers [blocks, values of a block], the
scales and minima [blocks, groups of a block] with value = q * scale + minimum (no minimum: None). The layouts
are those of the `gguf` package's dequantisers, which the tests hold these against bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import MXFP4, Q4_K

from engine.checkpoints.weight import GroupedInts, Levels

Parts = tuple[np.ndarray, np.ndarray, np.ndarray | None]
TWICE_E2M1 = np.array(MXFP4.kvalues, dtype=np.int8)
SMALL_GROUP = 16
"""Values of a group in Q3_K and Q6_K."""


def grouped_ints(kind: GGMLQuantizationType, data: np.ndarray) -> GroupedInts | None:
    """`data` uint8 [rows, bytes of a row]; None where `kind` has no such form here."""
    if kind not in _FORMATS:
        return None
    bits, group, split = _FORMATS[kind]
    size, width = GGML_QUANT_SIZES[kind]
    rows = data.shape[0]
    columns = data.shape[1] // width * size
    q, scale, minimum = split(np.ascontiguousarray(data).reshape(-1, width))
    return GroupedInts(
        bits,
        group,
        torch.from_numpy(q.reshape(rows, columns)),
        torch.from_numpy(scale.reshape(rows, columns // group)),
        None if minimum is None else torch.from_numpy(minimum.reshape(rows, columns // group)),
        _levels(data) if kind == GGMLQuantizationType.Q4_K else None,
    )


def _levels(data: np.ndarray) -> Levels:
    """Of Q4_K: two float16 units a block, then 12 bytes with eight 6-bit scales and eight 6-bit minima."""
    blocks = np.ascontiguousarray(data).reshape(len(data), -1, GGML_QUANT_SIZES[GGMLQuantizationType.Q4_K][1])
    units = blocks[..., :4].copy().view(np.float16)
    first, second, high = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
    scales = np.concatenate((first & 63, (high & 15) | ((first >> 6) << 4)), axis=-1)
    minima = np.concatenate((second & 63, (high >> 4) | ((second >> 6) << 4)), axis=-1)
    levels = np.stack((scales, minima), axis=-1).reshape(len(data), -1, 2)
    return Levels(torch.from_numpy(units), torch.from_numpy(levels))


def _half(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data).view(np.float16).astype(np.float32)


def _nibbles(qs: np.ndarray, run: int) -> np.ndarray:
    """In each run of bytes all low halves come before all high ones."""
    runs = qs.reshape(len(qs), -1, 1, run)
    return np.concatenate((runs & 15, runs >> 4), axis=2).reshape(len(qs), -1)


def _bit_planes(bytes_: np.ndarray, run: int, bits: int) -> np.ndarray:
    """The same for `bits` bits: in each run all lowest fields come first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    fields = bytes_.reshape(len(bytes_), -1, 1, run) >> shifts
    return (fields & np.uint8((1 << bits) - 1)).reshape(len(bytes_), -1)


def _fifth_bit(qh: np.ndarray) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(qh), axis=1, bitorder="little") << 4


def _q4_0(block: np.ndarray) -> Parts:
    scale = _half(block[:, :2])
    return _nibbles(block[:, 2:], 16), scale, scale * -8


def _q4_1(block: np.ndarray) -> Parts:
    return _nibbles(block[:, 4:], 16), _half(block[:, :2]), _half(block[:, 2:4])


def _q5_0(block: np.ndarray) -> Parts:
    q = (_nibbles(block[:, 6:], 16) | _fifth_bit(block[:, 2:6])).astype(np.int8) - np.int8(16)
    return q, _half(block[:, :2]), None


def _q5_1(block: np.ndarray) -> Parts:
    q = (_nibbles(block[:, 8:], 16) | _fifth_bit(block[:, 4:8])).astype(np.int8)
    return q, _half(block[:, :2]), _half(block[:, 2:4])


def _q8_0(block: np.ndarray) -> Parts:
    return np.ascontiguousarray(block[:, 2:]).view(np.int8), _half(block[:, :2]), None


def _scale_and_minimum(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scales, minima = Q4_K.get_scale_min(np.ascontiguousarray(block[:, 4:16]))
    return _half(block[:, :2]) * scales.astype(np.float32), -(
        _half(block[:, 2:4]) * minima.astype(np.float32)
    )


def _q4_k(block: np.ndarray) -> Parts:
    return _nibbles(block[:, 16:], 32), *_scale_and_minimum(block)


def _q5_k(block: np.ndarray) -> Parts:
    fifth = _bit_planes(block[:, 16:48], 32, 1) << 4
    return (_nibbles(block[:, 48:], 32) | fifth).astype(np.int8), *_scale_and_minimum(block)


def _q6_k(block: np.ndarray) -> Parts:
    high = _bit_planes(block[:, 128:192], 32, 2) << 4
    q = (_nibbles(block[:, :128], 64) | high).astype(np.int8) - np.int8(32)
    scales = np.ascontiguousarray(block[:, 192:208]).view(np.int8).astype(np.float32)
    return q, _half(block[:, 208:]) * scales, None


def _q3_k(block: np.ndarray) -> Parts:
    """The third bit says what is NOT subtracted, so that the number is 0..7 with 4 taken away."""
    q = _bit_planes(block[:, 32:96], 32, 2) | _bit_planes(block[:, :32], 32, 1) << 2
    low = _nibbles(block[:, 96:104], 8)
    high = _bit_planes(block[:, 104:108], 4, 2)
    scales = (low | high << 4).astype(np.int8) - np.int8(32)
    scale = _half(block[:, 108:]) * scales.astype(np.float32)
    return q, scale, scale * -4


def _mxfp4(block: np.ndarray) -> Parts:
    exponent = block[:, :1]
    scale = np.where(exponent == 255, np.float32(np.nan), MXFP4.e8m0_to_fp32_half(exponent))
    return TWICE_E2M1[_nibbles(block[:, 1:], 16)], scale.astype(np.float32), None


_TYPES = GGMLQuantizationType
_FORMATS: dict[GGMLQuantizationType, tuple[int, int, Callable[[np.ndarray], Parts]]] = {
    _TYPES.Q4_0: (4, 32, _q4_0),
    _TYPES.Q4_1: (4, 32, _q4_1),
    _TYPES.Q5_0: (8, 32, _q5_0),
    _TYPES.Q5_1: (8, 32, _q5_1),
    _TYPES.Q8_0: (8, 32, _q8_0),
    _TYPES.Q3_K: (4, SMALL_GROUP, _q3_k),
    _TYPES.Q4_K: (4, 32, _q4_k),
    _TYPES.Q5_K: (8, 32, _q5_k),
    _TYPES.Q6_K: (8, SMALL_GROUP, _q6_k),
    _TYPES.MXFP4: (8, 32, _mxfp4),
}
"""Bits of the whole numbers, columns of a group, and how a block comes apart."""
