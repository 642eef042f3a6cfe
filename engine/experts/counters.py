"""What the store has done, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Counters:
    hits: int = 0
    """Experts that were in memory when a layer asked for them."""
    misses: int = 0
    """Experts that were not, those still on their way included."""
    bytes_read: int = 0
    """From disk, reads ahead included."""
    stall_seconds: float = 0.0
    """Time in which a layer had nothing to compute and waited for a read."""
    prefetched: int = 0
    """Reads ahead that were begun, ..."""
    prefetch_used: int = 0
    """... those whose expert was asked for while it was there (or on its way), ..."""
    prefetch_wasted: int = 0
    """... and those that were evicted, or broken off, before anybody asked."""
    promoted: int = 0
    """Experts copied to the device."""
    routing: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    """int64 [layers, experts]: tokens that each expert was given."""

    @property
    def hit_rate(self) -> float:
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0
