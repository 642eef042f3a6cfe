"""Where 4-bit values lie: one order on disk, and the order that torch's product wants on this processor.

On disk, in tiles of 64 rows: for each column 32 bytes, of which byte d < 16 holds row d (low) and row d + 32
(high), and byte 16 + d rows d + 16 and d + 48. It is torch's own order on AVX-512, so that there the bytes
are used as they are read; AVX2 and plain processors take a few masks and shifts. Which of the orders this
torch has is found by asking its packer once, not by reading processor flags; where none fits, the packer
itself does the work, slowly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

TILE = 64
"""Rows of a tile; matrices are padded to whole tiles."""
LOW = np.uint8(0x0F)


@dataclass(frozen=True)
class Order:
    """How this torch wants the values."""

    name: str
    turn: Callable[[np.ndarray, np.ndarray], None] | None
    """From the order on disk, uint8 [tiles, columns, 32], to its own, of the same size; None: the same."""
    back: Callable[[torch.Tensor], torch.Tensor]
    """From its own, uint8 [tiles, columns, 32], to values uint8 [rows, columns]."""


def pack(values: torch.Tensor) -> torch.Tensor:
    """uint8 [rows, columns] of values in [0, 15] to the order on disk, uint8 [tiles, columns, 32].

    Rows are filled up to whole tiles with the value 8, which is zero where the group's zero is.
    """
    rows, columns = values.shape
    missing = -rows % TILE
    if missing:
        values = torch.cat((values, values.new_full((missing, columns), 8)))
    quarters = values.view(-1, 4, 16, columns).permute(0, 3, 1, 2)
    return (quarters[:, :, :2] | (quarters[:, :, 2:] << 4)).reshape(-1, columns, 32).contiguous()


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """The inverse of `pack`: uint8 [tiles, columns, 32] to uint8 [tiles * 64, columns], on any device."""
    tiles, columns, _ = packed.shape
    quarters = torch.cat((packed & 15, packed >> 4), dim=2).view(tiles, columns, TILE)
    return quarters.permute(0, 2, 1).reshape(tiles * TILE, columns)


@functools.cache
def native_order() -> Order:
    """The order of this torch on this processor; asked once, with 2 tiles of random values."""
    values = torch.randint(
        0, 16, (2 * TILE, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    expected = _by_packer(values)
    stored = pack(values).numpy()
    for order in ORDERS:
        if order.turn is None:
            turned = stored
        else:
            turned = np.empty_like(stored)
            order.turn(stored, turned)
        if np.array_equal(turned, expected):
            return order
    return Order("packer", _turn_by_packer, _back_by_packer)


def _halves(stored: np.ndarray, turned: np.ndarray) -> None:
    """AVX2: tiles of 32 rows, byte d of a column holds row d (low) and row d + 16 (high).

    In 64-bit words, one of the four words of a column at a time: numpy runs along the columns then.
    """
    tiles, columns, _ = stored.shape
    low, high = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0xF0F0F0F0F0F0F0F0)
    source = stored.view(np.uint64)
    target = turned.view(np.uint64).reshape(tiles, 2, columns, 2)
    for tile in range(tiles):
        for word in range(2):
            first, second = source[tile, :, word], source[tile, :, 2 + word]
            target[tile, 0, :, word] = (first & low) | ((second & low) << np.uint64(4))
            target[tile, 1, :, word] = ((first & high) >> np.uint64(4)) | (second & high)


def _back_from_halves(packed: torch.Tensor) -> torch.Tensor:
    tiles, columns, _ = packed.shape
    pairs = packed.view(tiles * 2, columns, 16)
    return torch.cat((pairs & 15, pairs >> 4), dim=2).permute(0, 2, 1).reshape(tiles * TILE, columns)


def _pairs(stored: np.ndarray, turned: np.ndarray) -> None:
    """Without AVX2: tiles of 32 rows, byte d of a column holds row 2d (low) and row 2d + 1 (high)."""
    tiles, columns, _ = stored.shape
    target = turned.reshape(tiles, 2, columns, 16)
    for tile in range(tiles):
        source = stored[tile]
        for half, rows in enumerate((source & LOW, source >> 4)):
            target[tile, half] = rows[:, 0::2] | (rows[:, 1::2] << 4)


def _back_from_pairs(packed: torch.Tensor) -> torch.Tensor:
    tiles, columns, _ = packed.shape
    pairs = packed.view(tiles * 2, columns, 16)
    return torch.stack((pairs & 15, pairs >> 4), dim=3).permute(0, 2, 3, 1).reshape(tiles * TILE, columns)


def _by_packer(values: torch.Tensor) -> np.ndarray:
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values.to(torch.int32), 1)
    return packed.view(torch.uint8).reshape(-1, values.shape[1], 32).numpy()


def _turn_by_packer(stored: np.ndarray, turned: np.ndarray) -> None:
    for tile in range(len(stored)):
        turned[tile] = _by_packer(unpack(torch.from_numpy(stored[tile : tile + 1])))[0]


def _back_by_packer(packed: torch.Tensor) -> torch.Tensor:
    """Asks the product for its weights: a unit vector for each column, scale 1 and zero 0."""
    tiles, columns, _ = packed.shape
    ones = torch.zeros(columns // 32, tiles * TILE, 2, dtype=torch.bfloat16)
    ones[..., 0] = 1
    flat = packed.reshape(tiles * TILE, columns // 2).cpu()
    unit = torch.eye(columns, dtype=torch.bfloat16)
    product = torch.ops.aten._weight_int4pack_mm_for_cpu(unit, flat, 32, ones)
    return product.T.add(8).to(torch.uint8).to(packed.device).contiguous()


ORDERS = (
    Order("tiles of 64", None, unpack),
    Order("tiles of 32", _halves, _back_from_halves),
    Order("pairs of rows", _pairs, _back_from_pairs),
)
