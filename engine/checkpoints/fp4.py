"""Weights in 4-bit floats (E2M1), two in a byte: NVFP4 of compressed-tensors and MXFP4 of gpt-oss.

Twice an E2M1 value is a whole number, so both map without loss onto 8-bit whole numbers in groups.
"""

from __future__ import annotations

from math import prod

import torch

from engine.checkpoints.safetensors_file import StoredTensor
from engine.checkpoints.stored import FLOATS
from engine.checkpoints.weight import Decoded, GroupedInts
from engine.errors import BadModelFile, UnsupportedModel

TWICE_E2M1 = torch.tensor([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=torch.int8)
"""The sign is the high bit; magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6 (OCP Microscaling formats 1.0, table 5)."""
NVFP4_GROUP, MXFP4_GROUP = 16, 32
E8M0_BIAS, E8M0_NAN = 127, 255


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """uint8 [rows, n] to int8 [rows, 2 n], twice the values; the low half of a byte is the even column."""
    codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)
    return TWICE_E2M1[codes.to(torch.int32)]


class _Fp4Weight(Decoded):
    def _decode(self, start: int, stop: int) -> torch.Tensor:
        grouped = self._grouped(start, stop)
        assert grouped is not None
        return grouped.floats()

    def _demand(self, tensor: StoredTensor, dtypes: tuple[str, ...], shape: tuple[int, ...]) -> None:
        if tensor.dtype not in dtypes or tensor.shape != shape:
            raise BadModelFile(
                f"{tensor.file.path}: {tensor.name} is {tensor.dtype} {list(tensor.shape)} where "
                f"{dtypes[0]} {list(shape)} belongs; fetch the model again."
            )


class Nvfp4Weight(_Fp4Weight):
    """value = e2m1 * (scale / global), a scale for each 16 columns, the global scale a divisor.

    As compressed-tensors' `nvfp4-pack-quantized` has it: `weight_packed` U8 [rows, columns / 2],
    `weight_scale` F8_E4M3 [rows, columns / 16], `weight_global_scale` F32 [1].
    """

    def __init__(self, name: str, packed: StoredTensor, scale: StoredTensor, divisor: StoredTensor):
        if packed.dtype != "U8":
            raise UnsupportedModel(
                f"{packed.file.path}: {packed.name} is packed in {packed.dtype}, a quantisation that Ostro "
                "does not read; use the BF16, FP8, NVFP4 or GGUF files of this model."
            )
        rows, half = packed.shape if len(packed.shape) == 2 else (0, 0)
        stored = packed.stored_bytes + scale.stored_bytes + divisor.stored_bytes
        super().__init__(name, (rows, 2 * half), "NVFP4", stored)
        self._demand(packed, ("U8",), (rows, half))
        self._demand(scale, ("F8_E4M3",), (rows, 2 * half // NVFP4_GROUP))
        if 2 * half % NVFP4_GROUP or prod(divisor.shape) != 1 or divisor.dtype not in FLOATS:
            raise BadModelFile(
                f"{packed.file.path}: {name} is not whole groups of 16 values with one global scale."
            )
        self._packed, self._scale, self._divisor = packed, scale, divisor

    def _grouped(self, start: int, stop: int) -> GroupedInts:
        divisor = self._divisor.whole().to(torch.float32).reshape(())
        if not (torch.isfinite(divisor) and divisor > 0):
            raise self._not_numbers()
        scale = self._scale.rows(start, stop).to(torch.float32).div_(divisor).div_(2)
        return GroupedInts(8, NVFP4_GROUP, unpack(self._packed.rows(start, stop)), scale, None)


class Mxfp4Weight(_Fp4Weight):
    """value = e2m1 * 2 ** (scale - 127), a scale for each 32 columns; a stack of matrices, one an expert.

    `X_blocks` U8 [experts, rows, groups, 16], `X_scales` U8 [experts, rows, groups].
    """

    def __init__(self, name: str, blocks: StoredTensor, scales: StoredTensor):
        stored = blocks.stored_bytes + scales.stored_bytes
        shape = blocks.shape if len(blocks.shape) == 4 else (0, 0, 0, MXFP4_GROUP // 2)
        super().__init__(name, (shape[0], shape[1], shape[2] * MXFP4_GROUP), "MXFP4", stored)
        self._demand(blocks, ("U8",), (*shape[:3], MXFP4_GROUP // 2))
        self._demand(scales, ("U8", "F8_E8M0"), shape[:3])
        self._blocks, self._scales, self._groups = blocks, scales, shape[2]

    def _grouped(self, start: int, stop: int) -> GroupedInts:
        packed = self._blocks.rows(start * self._groups, stop * self._groups)
        exponent = self._scales.rows(start, stop)
        if (exponent == E8M0_NAN).any():
            raise self._not_numbers()
        # One less, because the whole numbers are twice the values.
        scale = torch.ldexp(torch.ones(exponent.shape), exponent.to(torch.int32) - E8M0_BIAS - 1)
        q = unpack(packed.reshape(stop - start, self._groups * MXFP4_GROUP // 2))
        return GroupedInts(8, MXFP4_GROUP, q, scale, None)
