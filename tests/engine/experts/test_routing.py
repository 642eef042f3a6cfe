"""What is learnt from routing: heat, prediction, the saved profile. By counts of hits, never by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.routing_traces import SEEN, heat_rate, local_trace, lru_rate, uniform_trace
from engine.experts import ExpertStore, PackedModel, convert, profile_path
from engine.experts.heat import Heat
from engine.experts.predictor import Predictor
from engine.experts.profile import Profile
from tests.engine.experts.random_source import RandomSource

EXPERTS, K = 32, 2


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    folder = tmp_path_factory.mktemp("packed")
    return convert(RandomSource(folder, layers=2, experts=EXPERTS), folder / "packed", form="int8")


def budget_of(packed: PackedModel, slots: int) -> int:
    with ExpertStore.open(packed, budget=1 << 30) as store:
        fixed = store.memory_bytes
        return fixed + slots * store.memory.slot_bytes


def play(store: ExpertStore, trace: np.ndarray) -> None:
    hidden, weight = torch.ones(1, 64), torch.full((1, trace.shape[2]), 0.5)
    for layers in trace:
        for layer, experts in zip(store.layers, layers, strict=True):
            store.forward(layer, hidden, torch.from_numpy(experts)[None], weight)
            store.settle()


def following(tokens: int, seed: int = 0) -> np.ndarray:
    """Layer 2 asks for what layer 1 decides, and layer 1 for anything: memory alone cannot know it."""
    random = np.random.default_rng(seed)
    first = random.integers(0, EXPERTS // K, tokens)[:, None] * K + np.arange(K)
    second = (first * 5 + 3) % EXPERTS
    return np.stack((first, second), axis=1)


def test_reading_ahead_turns_misses_into_hits(packed: PackedModel) -> None:
    trace, budget = following(600), budget_of(packed, 12)
    counters = []
    for ahead in (True, False):
        with ExpertStore.open(packed, budget=budget, read_ahead=ahead) as store:
            play(store, trace)
            counters.append(store.counters)
    with_it, without = counters

    assert with_it.hits > without.hits + 300
    assert with_it.prefetch_used > 0.9 * (with_it.prefetched - 8)
    assert without.prefetched == 0


def test_nothing_is_read_ahead_where_nothing_can_be_known(packed: PackedModel) -> None:
    trace = uniform_trace(200, 2, EXPERTS, K)
    with ExpertStore.open(packed, budget=budget_of(packed, 12)) as store:
        play(store, trace)
        assert store.counters.prefetched < 0.05 * store.counters.misses


def test_a_profile_makes_a_later_session_warm(packed: PackedModel, tmp_path: Path) -> None:
    file, trace, budget = tmp_path / "cache" / "p.safetensors", following(300), budget_of(packed, 16)
    trace %= 16  # half the experts: as many as fit
    with ExpertStore.open(packed, budget=budget, profile=file) as store:
        play(store, trace[:200])
        cold = store.counters.misses
    kept = Profile.load(file, 2, EXPERTS)
    assert kept is not None and np.array_equal(kept.routing, store.counters.routing)
    with ExpertStore.open(packed, budget=budget, profile=file) as store:
        store.settle()
        play(store, trace[200:203])
        assert store.counters.hits > store.counters.misses
        assert cold >= 16

    for raw in (b"", file.read_bytes()[:-3], b"\xff" * 64):
        file.write_bytes(raw)
        assert Profile.load(file, 2, EXPERTS) is None
        with ExpertStore.open(packed, budget=budget, profile=file) as store:
            play(store, trace[:1])
        assert Profile.load(file, 2, EXPERTS) is not None
    assert Profile.load(file, 3, EXPERTS) is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_two_models_have_two_profiles(tmp_path: Path) -> None:
    one, other = profile_path(tmp_path / "m", {"a": 1}), profile_path(tmp_path / "m", {"a": 2})
    assert one != other and one == profile_path(tmp_path / "m", {"a": 1})


def test_heat_orders_as_counts_that_age_do() -> None:
    random = np.random.default_rng(0)
    heat, plain = Heat(8, 1, half_life=10), np.zeros(8)
    for _ in range(6000):  # far enough for the weights to be scaled back
        key = int(random.integers(8))
        plain *= 0.5 ** (1 / 10)
        plain[key] += 1
        heat.used(0, [key], [1], 1)
        assert heat.scores.argmax() == plain.argmax() and np.isfinite(heat.scores).all()


def test_a_prefill_counts_as_its_tokens_do() -> None:
    at_once, one_by_one = Heat(4, 1), Heat(4, 1)
    at_once.used(0, [0, 1], [90, 10], 100)
    for token in range(100):
        one_by_one.used(0, [1 if token % 10 == 5 else 0], [1], 1)
    assert np.allclose(at_once.scores, one_by_one.scores, rtol=0.02)


def test_prediction_is_bounded_and_fades() -> None:
    predictor = Predictor(2, 4)
    for _ in range(40_000):
        predictor.saw(0, np.array([1, 2]))
        predictor.saw(1, np.array([0, 3]))
    assert predictor.together.max() < 1 << 15
    (first, chance), *_ = predictor.likely(0, np.array([1, 2]), 0.5, 4)
    assert first in (0, 3) and chance > 0.9
    assert {n for n, _ in predictor.likely(0, np.array([1]), 0.5, 4)} == {0, 3}


def test_the_traces_have_the_locality_that_was_seen() -> None:
    trace = local_trace(600)
    for share, seen in SEEN.items():
        assert lru_rate(trace, int(256 * share), 200) == pytest.approx(seen, abs=0.03)
        assert heat_rate(trace, int(256 * share), 200) >= lru_rate(trace, int(256 * share), 200)
    assert lru_rate(uniform_trace(300), 64, 100) == pytest.approx(0.25, abs=0.05)
