"""The runtime over hosted models: generate, score and branch agree, whatever the cache holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ContextOverflow, UnsupportedModel
from engine.network import Opened
from engine.request import Sampling
from engine.runtime import Cancelled, Runtime
from tests.engine.hosted.tiny import load, tokens
from tests.engine.tiny_gguf import write_tiny_gguf

MODELS = ["mistral4", "gpt_oss", "qwen3_next"]
END = 2


class Endings:
    end_ids = frozenset({END})


def opened(name: str, model: Any) -> Opened:
    return Opened(load(name, model), Endings(), "tiny", name)  # pyright: ignore[reportArgumentType]


@pytest.fixture(params=MODELS)
def fresh(request: pytest.FixtureRequest, reference: Callable[..., Any]) -> Callable[[], Runtime]:
    name: str = request.param
    return lambda: Runtime(Path("tiny"), opened(name, reference(name)))


@pytest.fixture
def runtime(fresh: Callable[[], Runtime]) -> Runtime:
    return fresh()


def answer(runtime: Runtime, prompt: list[int], count: int = 8, **options: Any) -> list[int]:
    options = {"sampling": Sampling(), "stop_ids": frozenset(), "cancelled": lambda: False} | options
    return [sampled.token_id for sampled in runtime.generate(prompt, max_tokens=count, **options)]


def test_a_warm_cache_changes_nothing(runtime: Runtime, fresh: Callable[[], Runtime]):
    prompt = tokens(300)
    cold = answer(runtime, prompt)
    warm = answer(runtime, prompt)

    assert runtime.last_cached == len(prompt) - 1
    assert warm == cold
    turn = [*prompt, *cold, 20, 21]
    assert answer(runtime, turn) == answer(fresh(), turn)
    assert runtime.last_cached >= len(prompt) - 1


@pytest.mark.parametrize("name", MODELS)
def test_chunks_of_any_size_are_one_prefill(name: str, reference: Callable[..., Any]):
    """A mixture of experts is read in long chunks: what it says of a text does not depend on that."""
    prefix, text = tokens(8), tokens(700, seed=1)
    of_size = {
        chunk: Runtime(Path("tiny"), replace(opened(name, reference(name)), prefill_chunk=chunk))
        for chunk in (100, 256, 2048)
    }
    scored = {chunk: runtime.score(prefix, text, top=1) for chunk, runtime in of_size.items()}
    for chunk, scores in scored.items():
        for (ours, _), (expected, _) in zip(scores, scored[256], strict=True):
            assert ours == pytest.approx(expected, abs=5e-4 if name == "qwen3_next" else 1e-4), chunk
    assert len({tuple(answer(runtime, text)) for runtime in of_size.values()}) == 1


def test_the_cache_has_the_budget_that_was_planned(reference: Callable[..., Any]):
    told = opened("mistral4", reference("mistral4"))
    cache = told.network.new_cache()
    assert Runtime(Path("tiny"), replace(told, cache_budget=cache.bytes_of(5000))).context == 5120
    assert Runtime(Path("tiny"), told, cache.bytes_of(2000)).context == 2048


def test_an_answer_that_is_gone_on_from_is_not_read_again(runtime: Runtime):
    """Its tokens are in the cache, a recurrent state too: it is where the sequence stands."""
    prompt = tokens(40)
    made = answer(runtime, prompt)
    answer(runtime, [*prompt, *made, 20, 21, 22])

    assert runtime.last_cached == len(prompt) + len(made) - 1


def test_a_side_request_does_not_lose_the_long_prefix(runtime: Runtime):
    prompt = tokens(120)
    expected = answer(runtime, prompt)
    answer(runtime, [*prompt[:20], 11, 12, 13])

    assert runtime.cached_prefix(prompt) == len(prompt) - 1
    assert answer(runtime, prompt) == expected


def test_score_is_the_distribution_that_generate_draws_from(runtime: Runtime):
    prompt = tokens(50)
    options = {"sampling": Sampling(), "stop_ids": frozenset(), "cancelled": lambda: False}
    sampled = list(runtime.generate(prompt, max_tokens=6, **options))
    scored = runtime.score(prompt, [each.token_id for each in sampled], top=3)

    for each, (logprob, others) in zip(sampled, scored, strict=True):
        assert logprob == pytest.approx(each.logprob, abs=1e-3)
        assert all(other <= logprob + 1e-3 for _, other in others), "greedy took the likeliest"


def test_branches_in_a_batch_are_what_each_is_alone(runtime: Runtime, fresh: Callable[[], Runtime]):
    prefix, text = tokens(9, seed=1), tokens(40)
    starts = [(0, 65), (5, 66), (5, 67), (30, 68), (39, 69)]
    together = runtime.branch(prefix, text, starts, stop=lambda ids: len(ids) == 9, max_tokens=20)

    alone = fresh()
    for (index, token_id), (ids, logprob, stopped) in zip(starts, together, strict=True):
        before = [*prefix, *text[:index]]
        assert ids == [token_id, *answer(alone, [*before, token_id], 8)]
        assert stopped
        scored = alone.score(before, ids, top=1)
        assert logprob == pytest.approx(sum(each for each, _ in scored), abs=1e-2)


def test_cancelling_keeps_the_cache_whole(runtime: Runtime):
    prompt = tokens(60)
    expected = answer(runtime, prompt)
    asked = iter([False] * 5 + [True] * 99)
    with pytest.raises(Cancelled):
        answer(runtime, [*prompt, 50, 60, 70], cancelled=lambda: next(asked))

    assert answer(runtime, prompt) == expected


def test_memory_bounds_the_context(reference: Callable[..., Any]):
    model = opened("mistral4", reference("mistral4"))
    token = model.network.new_cache().layout.token_bytes
    runtime = Runtime(Path("tiny"), model, cache_budget=2048 * token + 1)

    assert runtime.context == 2048
    with pytest.raises(ContextOverflow, match="2,048"):
        answer(runtime, [20] * 2048)


def test_load_gives_to_transformers_what_is_not_qwen2(tmp_path: Path, reference: Callable[..., Any]):
    asked: list[Path] = []

    def open_hosted(path: Path, progress: Any) -> Opened:
        asked.append(path)
        return opened("mistral", reference("mistral"))

    own = Runtime.load(write_tiny_gguf(tmp_path / "own.gguf"), threads=1, open_hosted=open_hosted)
    assert own.architecture == "qwen2" and not asked
    other = write_tiny_gguf(tmp_path / "other.gguf", architecture="mistral4")
    for path in (tmp_path, other):
        assert Runtime.load(path, open_hosted=open_hosted).architecture == "mistral"
    assert asked == [tmp_path, other]
    with pytest.raises(UnsupportedModel, match="is a folder; this engine runs"):
        Runtime.load(tmp_path)
