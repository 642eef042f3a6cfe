"""Two ways to compute yarn's angles: exactly, and in 32 bits as ggml does.

At position p the fast pairs turn by up to p radians, so that a 32-bit frequency (transformers, and Ostro with
it) is off by p * 2 ** -24 or so, and an angle that is multiplied up pair by pair (ggml) by more. That is the
whole difference between the engines at late positions: the tests give transformers the angles of either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def exact(positions: Tensor, rope: Mapping[str, Any], width: int) -> Tensor:
    """float64 [tokens, width / 2] in radians; `rope` are the rope parameters of a configuration."""
    pairs = torch.arange(width // 2, dtype=torch.float64)
    frequency = float(rope["rope_theta"]) ** (-2 * pairs / width)
    low, high = _ramp_ends(rope, width)
    mix = 1 - ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)
    frequency = frequency / float(rope["factor"]) * (1 - mix) + frequency * mix
    return positions.double()[:, None] * frequency


def as_ggml_has_them(positions: Tensor, rope: Mapping[str, Any], width: int) -> Tensor:
    """The same in float32, from one pair to the next (`ggml_rope_cache_init` and `rope_yarn` of
    ggml/src/ggml-cpu/ops.cpp)."""
    f32 = np.float32
    step = f32(float(rope["rope_theta"]) ** (-2 / width))  # rounded once, as powf does; numpy's is a unit off
    slow = f32(1.0) / f32(rope["factor"])
    low, high = (f32(end) for end in _ramp_ends(rope, width))
    theta = positions.numpy().astype(f32)
    columns = []
    for pair in range(width // 2):
        ramp = (f32(pair) - low) / max(f32(0.001), high - low)
        mix = f32(1.0) - min(f32(1.0), max(f32(0.0), ramp))
        columns.append(slow * theta * (f32(1.0) - mix) + theta * mix)
        theta = theta * step
    return torch.from_numpy(np.stack(columns, axis=1))


def _ramp_ends(rope: Mapping[str, Any], width: int) -> tuple[int, int]:
    base, trained = float(rope["rope_theta"]), rope["original_max_position_embeddings"]
    low, high = (
        width * math.log(trained / (rope[beta] * 2 * math.pi)) / (2 * math.log(base))
        for beta in ("beta_fast", "beta_slow")
    )
    return max(math.floor(low), 0), min(math.ceil(high), width - 1)
