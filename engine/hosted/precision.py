"""Linear layers and embeddings as a hosted model holds them: each weight once, in the precision asked for."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from engine.quantised import ROWS_AT_ONCE, QuantisedLinear, quantise_rows

Precision = Literal["float32", "bfloat16", "int8"]
"""Of the weights outside the experts. int8 holds linear layers and the embedding in 8 bits, one scale a row,
the rest and the activations in float32; it runs on the processor alone."""

COMPUTED_IN: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.float32,
}


def cache_dtype_of(precision: Precision) -> torch.dtype:
    """What keys, values and latents are kept in."""
    return torch.float32 if precision == "float32" else torch.bfloat16


FLOATS_AT_ONCE = 1 << 22
"""Values dequantised together while a weight is read: 16 MiB of float32."""


class Weight(Protocol):
    """One stored tensor, of which nothing is read until it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def rows(self, start: int, stop: int) -> Tensor:
        """float32 [stop - start, columns]."""
        ...

    def floats(self) -> Tensor:
        """float32, whole."""
        ...


class Int8Linear(nn.Module):
    """nn.Linear over `engine.quantised.QuantisedLinear`."""

    def __init__(self, weight: Weight, bias: Weight | None):
        super().__init__()
        quantised, scales = _quantised(weight)
        self._linear = QuantisedLinear(quantised, scales, None if bias is None else bias.floats().clone())

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., columns] to [..., rows]."""
        return self._linear(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self._linear.rows)


class Int8Embedding(nn.Module):
    """nn.Embedding in 8 bits, one scale a row."""

    def __init__(self, weight: Weight):
        super().__init__()
        self._rows, self._scales = _quantised(weight)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] to float32 [..., columns]."""
        return self._rows[ids].float() * self._scales[ids][..., None]


class StoredEmbedding(nn.Module):
    """nn.Embedding that looks rows up in the checkpoint itself: where the head is the same matrix and holds
    it in 8 bits, nothing of it is kept a second time."""

    def __init__(self, weight: Weight):
        super().__init__()
        self._weight = weight

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] to float32 [..., columns]."""
        rows = torch.cat([self._weight.rows(n, n + 1) for n in ids.flatten().tolist()])
        return rows.view(*ids.shape, -1)


def read_floats(weight: Weight, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The whole weight in `dtype`; where that is not float32, little more than it exists at any moment."""
    if len(weight.shape) != 2 or (dtype == torch.float32 and device.type == "cpu"):
        return weight.floats().to(device=device, dtype=dtype)
    whole = torch.empty(weight.shape, dtype=dtype, device=device)
    rows = weight.shape[0]
    for start in range(0, rows, (step := max(1, FLOATS_AT_ONCE // weight.shape[1]))):
        whole[start : start + step] = weight.rows(start, min(start + step, rows))
    return whole


def _quantised(weight: Weight) -> tuple[Tensor, Tensor]:
    """int8 of the weight's shape and float32 scales [rows]."""
    rows, columns = weight.shape
    quantised, scales = torch.empty(rows, columns, dtype=torch.int8), torch.empty(rows)
    for start in range(0, rows, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, rows)
        quantised[start:end], scales[start:end] = quantise_rows(weight.rows(start, end).clone())
    return quantised, scales
