"""Weights as whole numbers with a scale and a minimum a group: how quantised formats meet the packed one.

A format that keeps its weights this way (GGUF's Q4_K and Q8_0) hands them over as they are, so that nothing
is rounded twice; any other weight is rounded here, once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.errors import BadModelFile

GROUP = 32
"""Columns that share one scale and one minimum at 4 bits."""
SUPER = 8
"""Groups of one super-block of Q4_K: 256 columns."""
CENTRE = 8
"""What torch's 4-bit product takes from every value: w = (q - 8) * scale + zero."""
Q4_K_BYTES, Q8_0_BYTES = 144, 34


@dataclass(frozen=True)
class Levels:
    """Scales and minimums of Q4_K as the file has them: a 16-bit unit for 256 columns, times a whole number.

    A scale is `units[..., 0] * levels[..., 0]`, a minimum `units[..., 1] * levels[..., 1]`. Neither product
    fits into 16 bits, so that keeping the factors is what makes the mapping lossless.
    """

    units: torch.Tensor
    """float16 [rows, columns / 256, 2]"""
    levels: torch.Tensor
    """uint8 [rows, columns / 32, 2]"""


@dataclass(frozen=True)
class GroupedInts:
    """w = values * scale - minimum, one scale and minimum for each `group` columns of a row."""

    values: torch.Tensor
    """[rows, columns]: uint8 in [0, 15] at 4 bits, int8 in [-128, 127] at 8."""
    scale: torch.Tensor
    """float32 [rows, columns / group]"""
    minimum: torch.Tensor | None
    """float32 like `scale`; None where the format has none (8 bits)."""
    bits: int
    group: int = GROUP
    levels: Levels | None = None
    """Where scale and minimum are products of two parts."""

    def floats(self) -> torch.Tensor:
        """float32 [rows, columns], what the numbers stand for."""
        rows, columns = self.values.shape
        wide = self.values.float().view(rows, columns // self.group, self.group) * self.scale[..., None]
        if self.minimum is not None:
            wide -= self.minimum[..., None]
        return wide.reshape(rows, columns)


def from_q4_k(blocks: np.ndarray) -> GroupedInts:
    """GGUF's Q4_K: uint8 [rows, columns / 256 * 144] to the same numbers, none changed.

    The block (ggml's `block_q4_K`): two float16 units, 12 bytes with eight 6-bit scales and eight 6-bit
    minimums, and 128 bytes of values, 64 columns at a time, low nibbles first.
    """
    rows = blocks.shape[0]
    raw = np.ascontiguousarray(blocks).reshape(rows, -1, Q4_K_BYTES)
    supers = raw.shape[1]
    units = raw[..., :4].copy().view(np.float16)
    packed = raw[..., 4:16]
    first, second, high = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate((first & 63, (high & 15) | ((first >> 6) << 4)), axis=-1)
    minimums = np.concatenate((second & 63, (high >> 4) | ((second >> 6) << 4)), axis=-1)
    levels = np.stack((scales, minimums), axis=-1).reshape(rows, supers * SUPER, 2)
    nibbles = raw[..., 16:].reshape(rows, supers, 4, 1, GROUP)
    values = np.concatenate((nibbles & 15, nibbles >> 4), axis=3).reshape(rows, supers * SUPER * GROUP)
    kept = Levels(torch.from_numpy(units), torch.from_numpy(levels))
    scale, minimum = _products(kept)
    return GroupedInts(torch.from_numpy(values), scale, minimum, bits=4, levels=kept)


def from_q8_0(blocks: np.ndarray) -> GroupedInts:
    """GGUF's Q8_0 (a float16 scale and 32 int8 a block): uint8 [rows, columns / 32 * 34] to its numbers."""
    rows = blocks.shape[0]
    raw = np.ascontiguousarray(blocks).reshape(rows, -1, Q8_0_BYTES)
    scale = torch.from_numpy(raw[..., :2].copy().view(np.float16)[..., 0].astype(np.float32))
    values = torch.from_numpy(raw[..., 2:].copy().view(np.int8).reshape(rows, -1))
    return GroupedInts(values, scale, None, bits=8)


def to_four_bits(weight: torch.Tensor, name: str) -> GroupedInts:
    """Round float32 [rows, columns] to 4 bits in groups of 32; columns are a multiple of 32.

    Scale and zero are made as torch's product will have them, in bfloat16, and the values are rounded
    against those, so that the arithmetic adds no error of its own. Raises BadModelFile.
    """
    refuse_non_finite(weight, name)
    rows, columns = weight.shape
    groups = weight.view(rows, columns // GROUP, GROUP)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    # A little wider than a fifteenth: bfloat16 keeps 8 bits, and a scale rounded down would cut the ends off.
    scale = ((high - low) * (1.004 / 15)).clamp_(min=1e-30).bfloat16().float()
    zero = (low + CENTRE * scale).bfloat16().float()
    values = ((groups - zero[..., None]) / scale[..., None]).round_().add_(CENTRE).clamp_(0, 15)
    return GroupedInts(values.to(torch.uint8).view(rows, columns), scale, CENTRE * scale - zero, bits=4)


def to_eight_bits(weight: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Round float32 [rows, columns] to int8 with one float32 scale a row. Raises BadModelFile."""
    refuse_non_finite(weight, name)
    scale = weight.abs().amax(dim=1).clamp_(min=1e-30).div_(127)
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def as_one_scale(grouped: GroupedInts) -> tuple[torch.Tensor, torch.Tensor] | None:
    """int8 values and float32 scale a row where every group of a row has the same scale; else None."""
    if grouped.bits != 8 or grouped.minimum is not None:
        return None
    first = grouped.scale[:, :1]
    if not torch.equal(grouped.scale, first.expand_as(grouped.scale)):
        return None
    return grouped.values, first[:, 0].contiguous()


def refuse_non_finite(weight: torch.Tensor, name: str) -> None:
    """Raises BadModelFile where a weight or scale is NaN or infinite."""
    if not torch.isfinite(weight).all():
        raise BadModelFile(
            f"{name} holds a weight or scale that is not a finite number; fetch the model again."
        )


def _products(kept: Levels) -> tuple[torch.Tensor, torch.Tensor]:
    wide = kept.units.float().repeat_interleave(SUPER, dim=1) * kept.levels.float()
    return wide[..., 0].contiguous(), wide[..., 1].contiguous()
