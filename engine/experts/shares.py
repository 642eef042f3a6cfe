"""A layer's tokens by the experts they go to."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Share:
    """What one expert has to do."""

    n: int
    tokens: int
    rows: torch.Tensor | None
    """int64 [tokens], in ascending order; None: the only token of the pass."""
    weight: torch.Tensor
    """float32 [tokens, 1]"""

    def add(self, y: torch.Tensor, out: torch.Tensor) -> None:
        """out[rows] += weight * y; `y` is used up."""
        y.mul_(self.weight)
        if self.rows is None:
            out.add_(y)
        else:
            out.index_add_(0, self.rows, y)


def shares_of(index: torch.Tensor, weight: torch.Tensor, experts: int) -> list[Share]:
    """index int64 [tokens, k], weight float32 [tokens, k]; shares in ascending order of the experts.

    An index of `experts` and more names nobody.
    """
    tokens, k = index.shape
    if tokens == 1:
        # Decoding: a few numbers, for which Python's own sorting is quicker than torch's.
        numbers = index[0].tolist()
        if len(set(numbers)) == k:
            pairs = sorted((n, at) for at, n in enumerate(numbers) if 0 <= n < experts)
            return [Share(n, 1, None, weight[:, at : at + 1]) for n, at in pairs]
    flat, places = index.reshape(-1).sort(stable=True)
    rows = places // k
    weights = weight.reshape(-1)[places, None]
    shares = []
    start = 0
    for n, count in zip(
        *(part.tolist() for part in torch.unique_consecutive(flat, return_counts=True)), strict=True
    ):
        stop = start + count
        if 0 <= n < experts:
            shares.append(Share(n, count, rows[start:stop], weights[start:stop]))
        start = stop
    return shares
