"""Which cache to go on from: the kept sequence that shares the longest usable prefix with a prompt.

Where a model's effort stands at the beginning of its prompt, each effort has a lane: a request goes on from
the sequences of its own lane, and takes no more than a copy of another lane's. So a side request at high
effort leaves the main conversation as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.network import SequenceCache

KEEP_SHARE = 0.75
"""A sequence is cut back in place if at least this share of it stays; else its prefix is copied, so
that a side request does not destroy a long conversation."""


def common_prefix(a: list[int], b: list[int]) -> int:
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    return next(n for n in range(limit) if a[n] != b[n])


@dataclass(eq=False)
class _Kept:
    cache: SequenceCache
    lane: str


class PrefixCache:
    """A few kept sequences within `budget` bytes, evicted before another one grows, so that the budget also
    holds while it does.

    The least recently used goes first, but the newest of each other lane only when nothing else is left.
    """

    def __init__(self, new: Callable[[], SequenceCache], budget: int):
        self._new = new
        self._budget = budget
        self._kept: list[_Kept] = []  # the most recently used is last

    @property
    def bytes(self) -> int:
        return sum(kept.cache.bytes for kept in self._kept)

    def longest(self, ids: list[int], keep: int | None = None) -> int:
        """How many leading tokens of `ids` (at most `keep`) a kept sequence can go on from."""
        return max((_usable(kept.cache, ids, keep) for kept in self._kept), default=0)

    def take(self, ids: list[int], keep: int | None = None, lane: str = "") -> SequenceCache:
        """A cache that holds the longest known prefix of `ids` (at most `keep` tokens), and no more."""
        best = max(
            self._kept, key=lambda kept: (_usable(kept.cache, ids, keep), kept.lane == lane), default=None
        )
        shared = 0 if best is None else _usable(best.cache, ids, keep)
        chosen = _Kept(self._new(), lane)
        if best is not None and shared > 0:
            needed = chosen.cache.bytes_of(len(ids))
            both_fit = best.cache.bytes + needed <= self._budget
            if both_fit and (best.lane != lane or shared < KEEP_SHARE * len(best.cache)):
                self._evict(best, self._budget - needed, lane)
                chosen = _Kept(best.cache.copy(shared), lane)
            else:
                self._kept.remove(best)
                best.cache.truncate(shared)
                chosen = _Kept(best.cache, lane)
        self._evict(None, self._budget - chosen.cache.bytes_of(len(ids)), lane)
        self._kept.append(chosen)
        return chosen.cache

    def touch(self, cache: SequenceCache) -> None:
        """Mark as most recently used, after it grew."""
        kept = next(kept for kept in self._kept if kept.cache is cache)
        self._kept.remove(kept)
        self._kept.append(kept)
        self._evict(kept, self._budget, kept.lane)

    def _evict(self, needed: _Kept | None, budget: int, lane: str) -> None:
        """Lets go of sequences, but not of the one that is needed, until all fit into `budget`."""
        while self.bytes > budget:
            newest = {kept.lane: kept for kept in self._kept}
            others = [kept for kept in self._kept if kept is not needed]
            spare = [kept for kept in others if kept.lane == lane or newest[kept.lane] is not kept]
            if not others:
                return
            self._kept.remove((spare or others)[0])


def _usable(cache: SequenceCache, ids: list[int], keep: int | None) -> int:
    shared = common_prefix(cache.ids, ids)
    return cache.reusable(shared if keep is None else min(shared, keep))
