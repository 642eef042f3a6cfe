"""Which experts the next layer will ask for, by what went together before.

Two measured things are put together: how often expert j of the next layer followed expert i of this one, and
how often an expert is asked for again by the next token. The larger of the two is the guess.
"""

from __future__ import annotations

import numpy as np

PRIOR = 8.0
"""Tokens' worth of doubt: what was seen a few times only is believed a little."""
RENEWAL = 1 << 14
"""Uses after which a pair's counts are halved, so that old habits fade."""


class Predictor:
    """`layers` layers of `experts` experts; the layer after the last is the first, of the next token."""

    def __init__(self, layers: int, experts: int):
        self.layers, self.experts = layers, experts
        self.together = np.zeros((layers, experts, experts), dtype=np.uint16)
        """[layer, i, j]: tokens that went to i here and to j in the next layer."""
        self.uses = np.zeros((layers, experts), dtype=np.uint32)
        """Tokens that went to an expert and on to a next layer."""
        self._last: list[np.ndarray | None] = [None] * layers
        self._again = np.full((layers, 2), (0.0, PRIOR))
        """[layer]: uses that repeated one of the token before, and uses."""
        self._came: tuple[int, np.ndarray] | None = None

    @property
    def bytes(self) -> int:
        return self.together.nbytes + self.uses.nbytes

    def saw(self, layer: int, experts: np.ndarray) -> None:
        """One token's experts of this layer, int64 [k]. Passes of several tokens are not told."""
        last = self._last[layer]
        if last is not None:
            self._again[layer] += (len({*last.tolist()} & {*experts.tolist()}), len(experts))
        self._last[layer] = experts
        if self._came is not None and (self._came[0] + 1) % self.layers == layer:
            before, came = self._came
            self.together[before, came[:, None], experts] += 1
            self.uses[before, came] += 1
            if self.uses[before, came].max() >= RENEWAL:
                self.together[before] >>= 1
                self.uses[before] >>= 1
        self._came = (layer, experts)

    def likely(self, layer: int, experts: np.ndarray, least: float, most: int) -> list[tuple[int, float]]:
        """Experts of the layer after `layer`, likeliest first, of probability `least` and more."""
        following = (layer + 1) % self.layers
        counts = self.together[layer, experts].astype(np.float32)
        chances = (counts / (self.uses[layer, experts][:, None] + PRIOR)).max(axis=0)
        last = self._last[following]
        if last is not None:
            repeats, uses = self._again[following]
            chances[last] = np.maximum(chances[last], repeats / uses)
        best = np.argsort(-chances)[:most]
        return [(int(n), float(chances[n])) for n in best if chances[n] >= least]
