"""How much each expert is used of late: a count that ages."""

from __future__ import annotations

import numpy as np

HALF_LIFE = 64
"""Tokens after which a use counts half. Shorter forgets a topic sooner, longer knows the steady favourites
better; see `bench/experts.py` for hit rates beside those of LRU."""
TOO_LARGE = 1e150


class Heat:
    """Scores of all (layer, expert) pairs, by flat key; larger is hotter.

    Uses are not aged one by one: a later use simply weighs more, by 2 ** (tokens / half_life), which orders
    the experts in the same way.
    """

    def __init__(self, keys: int, layers: int, half_life: float = HALF_LIFE):
        self.scores = np.zeros(keys)
        self._growth = 2 ** (1 / half_life)
        self._weights = [1.0] * layers
        """What a use weighs now, for each layer: each sees every token once."""

    def used(self, layer: int, keys: np.ndarray | list[int], tokens: np.ndarray | list[int], of: int) -> None:
        """In a pass of `of` tokens, `tokens[i]` of them went to `keys[i]` of this layer."""
        weight = self._weights[layer]
        grown = weight * self._growth**of
        # The mean weight of a token of the pass, so that a long prefill counts as what it is.
        mean = weight if of == 1 else (grown - weight) / (of * (self._growth - 1))
        self.scores[keys] += mean * np.asarray(tokens)
        self._weights[layer] = grown
        if grown > TOO_LARGE:
            self.scores /= grown
            self._weights = [weight / grown for weight in self._weights]

    def seed(self, counts: np.ndarray) -> None:
        """Begin with the shares of an earlier session: worth `HALF_LIFE` tokens of use in all."""
        sums = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, sums, out=np.zeros(counts.shape), where=sums > 0)
        self.scores += shares.ravel() * (HALF_LIFE / 2)
