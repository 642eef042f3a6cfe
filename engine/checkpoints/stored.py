"""Weights of safetensors files: plain floats, and 8-bit floats with their scales."""

from __future__ import annotations

from math import prod

import torch

from engine.checkpoints.safetensors_file import StoredTensor
from engine.checkpoints.weight import Decoded
from engine.errors import BadModelFile, UnsupportedModel

FLOATS = ("F32", "F16", "BF16", "F64")
EIGHT_BIT = ("F8_E4M3", "F8_E5M2")


class PlainWeight(Decoded):
    """Values stored as they are, in 16, 32 or 64 bits."""

    def __init__(self, name: str, tensor: StoredTensor):
        if tensor.dtype in EIGHT_BIT:
            raise BadModelFile(
                f"{tensor.file.path}: {tensor.name} is in 8-bit floats without a scale beside it."
            )
        if tensor.dtype not in FLOATS:
            raise UnsupportedModel(
                f"{tensor.file.path}: {tensor.name} is stored in whole numbers ({tensor.dtype}) of a "
                "quantisation that Ostro does not read; use the BF16, FP8, NVFP4 or GGUF files of this model."
            )
        super().__init__(name, tensor.shape, tensor.dtype, tensor.stored_bytes)
        self._tensor = tensor

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        return self._tensor.rows(start, stop).to(torch.float32)


class EightBitWeight(Decoded):
    """value = float8 * scale, the scale per tensor, per matrix of a stack, per row, or per block of a grid.

    That is `weight_scale_inv` of transformers' fp8 and `weight_scale` of compressed-tensors' float-quantized,
    both of which multiply: https://github.com/huggingface/transformers, integrations/finegrained_fp8.py.
    """

    def __init__(
        self, name: str, tensor: StoredTensor, scale: StoredTensor, block: tuple[int, int] | None = None
    ):
        super().__init__(name, tensor.shape, tensor.dtype, tensor.stored_bytes + scale.stored_bytes)
        if len(self.shape) not in (2, 3):
            raise BadModelFile(
                f"{tensor.file.path}: {tensor.name} in 8-bit floats is not a matrix or a stack of them."
            )
        if scale.dtype not in FLOATS:
            raise UnsupportedModel(
                f"{scale.file.path}: {scale.name} has scales in {scale.dtype}, not in floats."
            )
        self._tensor, self._scale = tensor, scale
        self._grid: torch.Tensor | None = None
        matrices, height = prod(self.shape[:-2]), self.shape[-2]
        shape = (1, 1, 1, *scale.shape)[-3:] if len(scale.shape) <= 3 else ()
        if scale.shape == (matrices,) and len(self.shape) == 3:
            shape = (matrices, 1, 1)
        if not shape or shape[0] not in (1, matrices):
            raise self._misshapen()
        self._grid_shape = shape
        self._block_rows = self._block(height, shape[1], block and block[0])
        self._block_columns = self._block(self.columns, shape[2], block and block[1])

    def _block(self, length: int, count: int, said: int | None) -> int:
        """How many rows (or columns) share one of `count` scales."""
        if count == 1:
            return max(1, length)
        if count == length:
            return 1
        if said and -(-length // said) == count:
            return said
        raise self._misshapen()

    def _misshapen(self) -> BadModelFile:
        return BadModelFile(
            f"{self._scale.file.path}: {self._scale.name} of shape {list(self._scale.shape)} does not fit "
            f"{self.name} of shape {list(self.shape)}; fetch the model again."
        )

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        if self._grid is None:
            grid = self._scale.whole().to(torch.float32).reshape(self._grid_shape)
            if not torch.isfinite(grid).all():
                raise self._not_numbers()
            self._grid = grid
        row = torch.arange(start, stop)
        matrix = row // self.shape[-2] if self._grid.shape[0] > 1 else torch.zeros_like(row)
        scale = self._grid[matrix, row % self.shape[-2] // self._block_rows]
        if scale.shape[1] > 1:
            scale = scale.repeat_interleave(self._block_columns, dim=1)[:, : self.columns]
        return self._tensor.rows(start, stop).to(torch.float32).mul_(scale)
