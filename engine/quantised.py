"""Quantised layers: int8 weights, one scale a row, and activations in two 7-bit planes.

`fbgemm`'s int8 kernel is the fastest matrix product that stock torch has on an AVX2 processor, with
two traps. Without VNNI it adds products in pairs in 16 bits, so that 8-bit activations against 8-bit
weights overflow silently; and its own dynamic quantisation takes one scale for the whole batch, so
that one outlier row ruins the others. Here each row is scaled by its own largest magnitude and split
into a coarse and a fine plane of 7 bits each (x = s * (hi + lo / 126), hi and lo whole numbers in
[-63, 63]); both planes go through one call as extra rows. No pair of products overflows
(2 * 127 * 127 < 2**15), and a row keeps 14 bits. While decoding, the weights are what is read from
memory, so the second plane costs little.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from engine.gguf_file import Tensor

LEVELS = 63
"""Largest magnitude in a 7-bit plane."""
FINE = 2 * LEVELS
"""The fine plane resolves the coarse plane's rounding error, in [-1/2, 1/2], into this many steps."""
ZERO_POINT = 64
ROWS_AT_ONCE = 32
"""Rows dequantised together while loading: few enough that their float32 stays in the processor's cache
(less than half the time of 2,048), and so little of it exists at any moment."""

_product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32


def use_fbgemm() -> None:
    """Select the packed format these layers need; once, before the first is built."""
    torch.backends.quantized.engine = "fbgemm"


class QuantisedLinear:
    """y = x W^T (+ b), with W [rows, columns] held as packed int8."""

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None):
        """`weight` int8 [rows, columns] in [-127, 127]; `scales` and `bias` float32 [rows]."""
        self.rows, self.columns = weight.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the deprecation of quantised tensors, 2.13
            zero_points = torch.zeros(self.rows, dtype=torch.long)
            quantised = torch.ops.aten._make_per_channel_quantized_tensor(
                weight, scales.double(), zero_points, 0
            )
            self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        self._bias = bias

    @classmethod
    def from_tensors(
        cls,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor] = (),
        note: Callable[[int], None] | None = None,
    ) -> QuantisedLinear:
        """One layer of the tensors' rows, stacked; `note` is told the bytes read, block by block."""
        rows, columns = sum(tensor.shape[0] for tensor in weights), weights[0].shape[1]
        quantised = torch.empty(rows, columns, dtype=torch.int8)
        scales = torch.empty(rows)
        at = 0
        for tensor in weights:
            for start in range(0, tensor.shape[0], ROWS_AT_ONCE):
                block = torch.from_numpy(tensor.rows(start, min(start + ROWS_AT_ONCE, tensor.shape[0])))
                end = at + block.shape[0]
                quantised[at:end], scales[at:end] = quantise_rows(block)
                at = end
                if note:
                    note(block.shape[0] * tensor.data.shape[1])
        bias = np.concatenate([tensor.floats() for tensor in biases]) if biases else None
        return cls(quantised, scales, None if bias is None else torch.from_numpy(bias))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`x` float32 [batch, columns]; returns float32 [batch, rows]."""
        scale = x.abs().amax(dim=1, keepdim=True).clamp_(min=1e-30).mul_(1 / LEVELS)
        scaled = x / scale
        coarse = scaled.round()
        planes = torch.cat((coarse, scaled.sub_(coarse).mul_(FINE)))
        products = _product(planes, 1.0, ZERO_POINT, self._packed)
        batch = x.shape[0]
        y = products[:batch].add_(products[batch:], alpha=1 / FINE).mul_(scale)
        return y if self._bias is None else y.add_(self._bias)


def quantise_rows(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [rows, columns] to int8 of the same shape and float32 scales [rows]."""
    scales = block.abs().amax(dim=1).clamp_(min=1e-30).div_(127)
    return block.div_(scales[:, None]).round_().to(torch.int8), scales


class QuantisedEmbedding:
    """Rows looked up in the file's own blocks: nothing of it is held in memory."""

    def __init__(self, tensor: Tensor):
        self._tensor = tensor

    def __call__(self, ids: Sequence[int]) -> torch.Tensor:
        """Returns float32 [len(ids), columns]."""
        return torch.from_numpy(self._tensor.take(np.asarray(ids, dtype=np.int64)))
