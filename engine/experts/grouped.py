"""Weights as whole numbers with a scale and a minimum a group: how quantised formats meet the packed one.

A format that keeps its weights this way (GGUF's Q4_K and Q8_0) hands them over as they are, so that nothing
is rounded twice; any other weight is rounded here, once.
"""

from __future__ import annotations

import torch

from engine.checkpoints import GroupedInts
from engine.errors import BadModelFile

GROUP = 32
"""Columns that share one scale and one minimum at 4 bits."""
SUPER = 8
"""Groups of one super-block of Q4_K: 256 columns."""
CENTRE = 8
"""What torch's 4-bit product takes from every value: w = (q - 8) * scale + zero."""


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
    q = values.to(torch.uint8).view(rows, columns)
    return GroupedInts(4, GROUP, q, scale, zero - CENTRE * scale)


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
    return grouped.q, first[:, 0].contiguous()


def refuse_non_finite(weight: torch.Tensor, name: str) -> None:
    """Raises BadModelFile where a weight or scale is NaN or infinite."""
    if not torch.isfinite(weight).all():
        raise BadModelFile(
            f"{name} holds a weight or scale that is not a finite number; fetch the model again."
        )
