"""Parts of a weight that are weights themselves: nothing is copied until rows are asked for."""

from __future__ import annotations

import dataclasses
from math import prod

import torch

from engine.checkpoints.weight import VALUES_AT_ONCE, Decoded, GroupedInts, Weight


class RowView(Decoded):
    """Chosen rows of a weight in a shape of their own: an expert of a stack, say, or a permutation."""

    def __init__(self, name: str, source: Weight, rows: range | torch.Tensor, shape: tuple[int, ...]):
        total = prod(source.shape[:-1])
        super().__init__(name, shape, source.kind, source.stored_bytes * len(rows) // max(1, total))
        assert self.row_count == len(rows) and self.columns == source.shape[-1]
        self._source, self._rows = source, rows

    def _span(self, start: int, stop: int) -> tuple[int, int, torch.Tensor | None]:
        """The rows of the source from which [start, stop) are taken, and which of those."""
        chosen = self._rows[start:stop]
        if isinstance(chosen, range):
            if chosen.step == 1 or not chosen:
                return chosen.start, chosen.start + len(chosen), None
            chosen = torch.arange(chosen.start, chosen.stop, chosen.step)
        if not len(chosen):
            return 0, 0, None
        first = int(chosen.min())
        return first, int(chosen.max()) + 1, chosen - first

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        first, last, chosen = self._span(start, stop)
        rows = self._source.rows(first, last)
        return rows if chosen is None else rows[chosen]

    def _grouped(self, start: int, stop: int) -> GroupedInts | None:
        first, last, chosen = self._span(start, stop)
        grouped = self._source.blocks(first, last)
        if grouped is None or chosen is None:
            return grouped
        minimum = None if grouped.minimum is None else grouped.minimum[chosen]
        return dataclasses.replace(grouped, q=grouped.q[chosen], scale=grouped.scale[chosen], minimum=minimum)


class Transposed(Decoded):
    """Columns [first::step] of a matrix as rows: [chosen columns, rows of the source]."""

    def __init__(self, name: str, source: Weight, first: int = 0, step: int = 1):
        rows, columns = source.shape
        chosen = len(range(first, columns, step))
        super().__init__(name, (chosen, rows), source.kind, source.stored_bytes * chosen // max(1, columns))
        self._source, self._first, self._step = source, first, step

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        turned = torch.empty(stop - start, self.columns)
        at_once = max(1, VALUES_AT_ONCE // max(1, self._source.shape[1]))
        begin, end = self._first + start * self._step, self._first + stop * self._step
        for row in range(0, self.columns, at_once):
            last = min(row + at_once, self.columns)
            turned[:, row:last] = self._source.rows(row, last)[:, begin : end : self._step].T
        return turned

    def floats(self) -> torch.Tensor:
        """Whole in one go: every band of rows would read all of the source again."""
        return self.rows(0, self.row_count)


class Flat(Decoded):
    """A run of the values of a weight as a vector: the bias of one expert, say."""

    def __init__(self, name: str, source: Weight, row: int, first: int = 0, step: int = 1):
        length = len(range(first, source.shape[-1], step))
        share = max(1, prod(source.shape))
        super().__init__(name, (length,), source.kind, source.stored_bytes * length // share)
        self._source, self._row, self._first, self._step = source, row, first, step

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        return self._source.rows(self._row, self._row + 1)[:, self._first :: self._step][start:stop]


def rotary_halves(heads: int, rows: int) -> torch.Tensor:
    """Rows of a q or k projection whose rotary pairs lie side by side, in the order of halves: int64 [rows].

    Mistral's own files rotate (0, 1), (2, 3), …; transformers rotates i with i + half of the head.
    """
    return torch.arange(rows).reshape(heads, rows // heads // 2, 2).transpose(1, 2).reshape(rows)
