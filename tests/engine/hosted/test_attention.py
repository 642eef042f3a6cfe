"""Attention in blocks is softmax attention, whatever the blocks, windows and sinks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.hosted import attention
from engine.hosted.attention import attend

GROUPS, WIDTH, VALUES = 2, 8, 6


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SCORE_BYTES", 256)
        patch.setattr(attention, "LEAST_BLOCK", 4)
        patch.setattr(attention, "MOST_BLOCK", 7)
        yield


def naive(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    seen: torch.Tensor,
    sinks: torch.Tensor | None,
) -> Tensor:
    scores = (query @ keys.transpose(1, 2)).masked_fill(~seen, float("-inf"))
    if sinks is not None:
        scores = torch.cat((scores, sinks[..., None]), dim=-1)
    return torch.softmax(scores, dim=-1)[..., : keys.shape[1]] @ values


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 30), st.integers(1, 40), st.integers(1, 45), st.booleans(), st.integers(0, 2**31),
    st.sampled_from([1.0, 30.0]),
)  # fmt: skip
def test_it_is_softmax_attention(rows: int, keys: int, window: int, sinking: bool, seed: int, spread: float):
    torch.manual_seed(seed)
    query = torch.randn(GROUPS, rows, WIDTH) * spread
    kept, values = torch.randn(GROUPS, keys, WIDTH), torch.randn(GROUPS, keys, VALUES)
    sinks = torch.randn(GROUPS, rows) if sinking else None
    last = torch.randint(0, keys, (rows,)).sort().values
    since = (last - window + 1).clamp(min=0)
    places = torch.arange(keys)[None, :]
    seen = (places <= last[:, None]) & (places >= since[:, None])

    def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
        return kept[:, start:stop], values[:, start:stop]

    got = attend(query, read, keys, last, since).finished(sinks)
    torch.testing.assert_close(got, naive(query, kept, values, seen, sinks), rtol=1e-4, atol=1e-5)
    all_seen = attend(query, read, keys).finished(sinks)
    everything = torch.ones_like(seen)
    torch.testing.assert_close(all_seen, naive(query, kept, values, everything, sinks), rtol=1e-4, atol=1e-5)
    at = keys // 2
    early = attend(query, read, at)
    late = attend(query, lambda start, stop: read(at + start, at + stop), keys - at)
    torch.testing.assert_close(early.merged(late).finished(sinks), all_seen, rtol=1e-4, atol=1e-5)


def test_keys_that_no_row_sees_are_not_read():
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
        asked.append((start, stop))
        return torch.zeros(GROUPS, stop - start, WIDTH), torch.zeros(GROUPS, stop - start, VALUES)

    last = torch.tensor([50, 51, 52])
    attend(torch.zeros(GROUPS, 3, WIDTH), read, 1000, last, last - 3)
    assert min(start for start, _ in asked) == 47 and max(stop for _, stop in asked) == 53


def test_few_keys_are_widened_at_once():
    """Also for a single row, whose scores alone would allow a block of the whole context."""
    asked: list[int] = []

    def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
        asked.append(stop - start)
        return torch.zeros(1, stop - start, WIDTH), torch.zeros(1, stop - start, VALUES)

    attend(torch.zeros(1, 1, WIDTH), read, 30)
    assert asked == [7, 7, 7, 7, 2]


def test_a_number_that_is_none_stays_so():
    """It must not be smoothed over: whoever reads the result has to notice."""
    query = torch.full((GROUPS, 1, WIDTH), float("nan"))
    keys, values = torch.zeros(GROUPS, 9, WIDTH), torch.zeros(GROUPS, 9, VALUES)
    got = attend(query, lambda start, stop: (keys[:, start:stop], values[:, start:stop]), 9).finished()
    assert got.isnan().all()
