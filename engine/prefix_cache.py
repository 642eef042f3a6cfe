"""Which cache to go on from: the kept sequence that shares the longest usable prefix with a prompt."""

from __future__ import annotations

from collections.abc import Callable

from engine.network import SequenceCache

KEEP_SHARE = 0.75
"""A sequence is cut back in place if at least this share of it stays; else its prefix is copied, so
that a side request does not destroy a long conversation."""


def common_prefix(a: list[int], b: list[int]) -> int:
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    return next(n for n in range(limit) if a[n] != b[n])


class PrefixCache:
    """A few kept sequences, the least recently used evicted first, within `budget` bytes.

    Evicted before another one grows, so that the budget also holds while it does.
    """

    def __init__(self, new: Callable[[], SequenceCache], budget: int):
        self._new = new
        self._budget = budget
        self._kept: list[SequenceCache] = []

    def longest(self, ids: list[int], keep: int | None = None) -> int:
        """How many leading tokens of `ids` (at most `keep`) a kept sequence can go on from."""
        return max((_usable(cache, ids, keep) for cache in self._kept), default=0)

    def take(self, ids: list[int], keep: int | None = None) -> SequenceCache:
        """A cache that holds the longest known prefix of `ids` (at most `keep` tokens), and no more."""
        best = max(self._kept, key=lambda cache: _usable(cache, ids, keep), default=None)
        shared = 0 if best is None else _usable(best, ids, keep)
        chosen = self._new()
        if best is not None and shared > 0:
            both_fit = best.bytes + chosen.bytes_of(len(ids)) <= self._budget
            if both_fit and shared < KEEP_SHARE * len(best):
                self._evict(best, self._budget - chosen.bytes_of(len(ids)))
                chosen = best.copy(shared)
            else:
                self._kept.remove(best)
                best.truncate(shared)
                chosen = best
        self._evict(None, self._budget - chosen.bytes_of(len(ids)))
        self._kept.append(chosen)
        return chosen

    def touch(self, cache: SequenceCache) -> None:
        """Mark as most recently used, after it grew."""
        self._kept.remove(cache)
        self._kept.append(cache)
        self._evict(cache, self._budget)

    def _evict(self, needed: SequenceCache | None, budget: int) -> None:
        """Lets go of the oldest, but not of the one that is needed, until all fit into `budget`."""
        while sum(cache.bytes for cache in self._kept) > budget:
            oldest = next((cache for cache in self._kept if cache is not needed), None)
            if oldest is None:
                return
            self._kept.remove(oldest)


def _usable(cache: SequenceCache, ids: list[int], keep: int | None) -> int:
    shared = common_prefix(cache.ids, ids)
    return cache.reusable(shared if keep is None else min(shared, keep))
