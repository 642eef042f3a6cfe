"""Sampling keeps the distribution it is asked for."""

from __future__ import annotations

import math

import pytest
import torch

from engine.request import Sampling
from engine.sampling import Sampler, kept

LOGITS = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])


def frequencies(sampling: Sampling, draws: int = 20_000) -> torch.Tensor:
    sampler = Sampler(sampling)
    drawn = torch.tensor([sampler(LOGITS).token_id for _ in range(draws)])
    return torch.bincount(drawn, minlength=len(LOGITS)) / draws


def test_temperature_zero_takes_the_likeliest() -> None:
    sampled = Sampler(Sampling())(LOGITS)

    assert sampled.token_id == 0
    assert sampled.logprob == pytest.approx(float(torch.log_softmax(LOGITS, 0)[0]))


def test_draws_follow_the_softmax() -> None:
    expected = torch.softmax(LOGITS / 0.7, 0)
    seen = frequencies(Sampling(temperature=0.7, seed=1))

    # Five standard deviations of a binomial share, at 20,000 draws.
    assert (seen - expected).abs().le(5 * (expected * (1 - expected) / 20_000).sqrt() + 1e-6).all()


def test_the_same_seed_draws_the_same() -> None:
    sampling = Sampling(temperature=1.0, seed=7)
    first, second = Sampler(sampling), Sampler(sampling)

    assert [first(LOGITS).token_id for _ in range(50)] == [second(LOGITS).token_id for _ in range(50)]


@pytest.mark.parametrize(
    ("sampling", "survivors"),
    [
        (Sampling(temperature=1.0, top_k=2), 2),
        (Sampling(temperature=1.0, top_k=99), 5),
        (Sampling(temperature=1.0, top_p=0.6), 1),
        (Sampling(temperature=1.0, top_p=0.7), 2),
        (Sampling(temperature=1.0, min_p=0.3), 2),
        (Sampling(temperature=1.0, top_p=0.0001), 1),
    ],
)
def test_cuts_keep_the_likeliest_and_renormalise(sampling: Sampling, survivors: int) -> None:
    probabilities = kept(LOGITS, sampling)

    assert int((probabilities > 0).sum()) == survivors
    assert float(probabilities.sum()) == pytest.approx(1.0)
    assert (probabilities[:survivors] > 0).all()


def test_entropy_is_that_of_the_model() -> None:
    uniform = torch.zeros(8)

    assert Sampler(Sampling(temperature=1.0, top_k=1, seed=0))(uniform).entropy == pytest.approx(math.log(8))
