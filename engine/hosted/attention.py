"""Attention in blocks: no matrix of scores larger than a bound exists at once, however long the context.

Softmax over blocks of keys, each row's peak and sum carried along, as in "FlashAttention" (Dao et al., 2022,
arXiv:2205.14135, algorithm 1). Parts of the keys that lie in different places (a shared prefix and a branch's
own tail) are attended to apart and merged by the same rule.

Shapes: N groups that share keys (a key-value head, or all heads over one latent), R rows of queries in each,
D values a key, V values a value. All of it is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SCORE_BYTES = 32 << 20
"""Bound on the scores that exist at once."""
LEAST_BLOCK = 512
"""Keys in a block, where there are so many rows that they have to be tiled."""
MOST_BLOCK = 8192
"""Keys in a block, where there are few rows: what is kept in 16 bits is widened a block at a time."""
LOWEST = -1e30
"""Peak of a row that has seen no key: finite, so that no infinities are subtracted."""

Read = Callable[[int, int], tuple[Tensor, Tensor]]
"""Keys [N, c, D] and values [N, c, V] at places [start, stop), c = stop - start."""


@dataclass
class Partial:
    """What some of the keys come to."""

    weighted: Tensor
    """[N, R, V]: the sum of values, each weighted by exp(score - peak)."""
    total: Tensor
    """[N, R]: the sum of those weights."""
    peak: Tensor
    """[N, R]: the largest score."""

    def merged(self, other: Partial) -> Partial:
        """Of the keys of both."""
        peak = torch.maximum(self.peak, other.peak)
        mine, its = (self.peak - peak).exp_(), (other.peak - peak).exp_()
        weighted = self.weighted * mine[..., None] + other.weighted * its[..., None]
        return Partial(weighted, self.total * mine + other.total * its, peak)

    def finished(self, sinks: Tensor | None = None) -> Tensor:
        """[N, R, V]. `sinks` [N, R] are scores that take their share of the weight and give no value, as
        gpt-oss has them (transformers, `GptOssAttention`)."""
        if sinks is None:
            return self.weighted / self.total[..., None]
        sink = Partial(torch.zeros_like(self.weighted), torch.ones_like(sinks), sinks)
        return self.merged(sink).finished()


def attend(
    query: Tensor, read: Read, stop: int, last: Tensor | None = None, since: Tensor | None = None
) -> Partial:
    """Attention of `query` [N, R, D], scaled already, to the keys at places [0, stop).

    A row sees the places from `since` [R] to `last` [R], both included (int64; neither given: all of them).
    Rows are best in the order of their places: blocks that no row of a tile sees are not read.
    """
    groups, rows, _ = query.shape
    floats = SCORE_BYTES // 4
    tile = max(1, floats // (groups * LEAST_BLOCK))
    if rows <= tile:
        block = min(floats // (groups * max(rows, 1)), MOST_BLOCK)
        return _tile(query, read, stop, last, since, max(block, 1))
    parts = []
    for begin in range(0, rows, tile):
        part = slice(begin, begin + tile)
        parts.append(
            _tile(
                query[:, part],
                read,
                stop,
                None if last is None else last[part],
                None if since is None else since[part],
                LEAST_BLOCK,
            )
        )
    return Partial(
        torch.cat([part.weighted for part in parts], dim=1),
        torch.cat([part.total for part in parts], dim=1),
        torch.cat([part.peak for part in parts], dim=1),
    )


def _tile(
    query: Tensor, read: Read, stop: int, last: Tensor | None, since: Tensor | None, block: int
) -> Partial:
    """Rows few enough that `block` keys stay within the bound."""
    first, all_from, all_until = 0, 0, stop
    """Places before `first` or from `stop` on nobody sees; all rows see [all_from, all_until)."""
    if last is not None:
        all_until, stop = min(stop, int(last.min()) + 1), min(stop, int(last.max()) + 1)
    if since is not None:
        first, all_from = int(since.min()), int(since.max())
    whole: Partial | None = None
    for start in range(first, stop, block):
        end = min(start + block, stop)
        keys, values = read(start, end)
        scores = query @ keys.transpose(1, 2)
        if end > all_until or start < all_from:
            scores.masked_fill_(_hidden(start, end, last, since, query.device), float("-inf"))
        whole = _with_block(whole, scores, values)
    if whole is not None:
        return whole
    empty = query.new_zeros(query.shape[:2])
    _, values = read(0, 0)
    return Partial(query.new_zeros(*query.shape[:2], values.shape[-1]), empty, empty + LOWEST)


def _with_block(before: Partial | None, scores: Tensor, values: Tensor) -> Partial:
    """`scores` [N, R, c] are used up."""
    peak = scores.amax(dim=-1).clamp_(min=LOWEST)
    if before is not None:
        peak = torch.maximum(peak, before.peak)
    shares = scores.sub_(peak[..., None]).exp_()
    total, weighted = shares.sum(dim=-1), shares @ values
    if before is None:
        return Partial(weighted, total, peak)
    shrunk = (before.peak - peak).exp_()
    weighted.addcmul_(before.weighted, shrunk[..., None])
    return Partial(weighted, total.addcmul_(before.total, shrunk), peak)


def _hidden(start: int, end: int, last: Tensor | None, since: Tensor | None, device: torch.device) -> Tensor:
    """[R, c]: which of the places [start, end) a row does not see."""
    places = torch.arange(start, end, device=device)[None, :]
    hidden = None if last is None else places > last[:, None]
    if since is None:
        assert hidden is not None, "asked for a mask of rows that see everything"
        return hidden
    early = places < since[:, None]
    return early if hidden is None else hidden.logical_or_(early)
