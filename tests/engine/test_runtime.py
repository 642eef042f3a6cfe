"""Generate, score and branch agree with one another, whatever the cache holds; on a tiny random model."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ContextOverflow, EngineError, UnsupportedModel
from engine.gguf_file import GgufFile
from engine.memory_plan import shortfall
from engine.model import CACHE_BUDGET
from engine.qwen2_model import Qwen2Model
from engine.qwen2_needs import qwen2_needs
from engine.request import Sampling
from engine.runtime import Cancelled, Runtime
from tests.engine.tiny_gguf import CONTEXT, write_tiny_gguf

PROMPT = "the quick brown fox jumps over the lazy dog, again and again; "


@pytest.fixture
def runtime(tiny_model: Path) -> Runtime:
    return Runtime.load(tiny_model, threads=1)


def answer(runtime: Runtime, prompt: list[int], tokens: int = 12, **options) -> list[int]:
    options = {"sampling": Sampling(), "stop_ids": frozenset(), "cancelled": lambda: False} | options
    return [sampled.token_id for sampled in runtime.generate(prompt, max_tokens=tokens, **options)]


def test_a_warm_cache_changes_nothing(runtime: Runtime, tiny_model: Path) -> None:
    prompt = runtime.tokenizer.encode(PROMPT)
    cold = answer(runtime, prompt)
    warm = answer(runtime, prompt)

    assert runtime.last_cached == len(prompt) - 1
    assert warm == cold
    assert answer(Runtime.load(tiny_model, threads=1), [*prompt, *cold[:5]], 7) == cold[5:]
    assert answer(runtime, [*prompt, *cold[:5]], 7) == cold[5:]


def test_a_side_request_does_not_lose_the_long_prefix(runtime: Runtime) -> None:
    prompt = runtime.tokenizer.encode(PROMPT * 3)
    expected = answer(runtime, prompt)
    answer(runtime, [*prompt[:20], 1, 2, 3])

    assert runtime.cached_prefix(prompt) == len(prompt) - 1
    assert answer(runtime, prompt) == expected


def test_score_is_the_distribution_that_generate_draws_from(runtime: Runtime) -> None:
    prompt = runtime.tokenizer.encode(PROMPT)
    sampled = list(
        runtime.generate(
            prompt, max_tokens=6, sampling=Sampling(), stop_ids=frozenset(), cancelled=lambda: False
        )
    )
    scored = runtime.score(prompt, [token.token_id for token in sampled], top=3)

    for token, (logprob, others) in zip(sampled, scored, strict=True):
        assert logprob == pytest.approx(token.logprob, abs=1e-3)
        assert token.token_id not in [token_id for token_id, _ in others]
        assert all(other <= logprob + 1e-3 for _, other in others), "greedy took the likeliest"


def test_branches_in_a_batch_are_what_each_is_alone(runtime: Runtime) -> None:
    prefix, text = runtime.tokenizer.encode("a comment\n"), runtime.tokenizer.encode(PROMPT)
    starts = [(0, 65), (5, 66), (5, 67), (40, 68), (len(text) - 1, 69)]

    together = runtime.branch(prefix, text, starts, stop=lambda ids: len(ids) == 9, max_tokens=20)

    for (index, token_id), (ids, logprob, stopped) in zip(starts, together, strict=True):
        before = [*prefix, *text[:index]]
        assert ids == [token_id, *answer(runtime, [*before, token_id], 8)]
        assert stopped
        scored = runtime.score(before, ids, top=1)
        assert logprob == pytest.approx(sum(each for each, _ in scored), abs=1e-2)


def test_branches_end_apart(runtime: Runtime) -> None:
    text = runtime.tokenizer.encode(PROMPT)
    lengths = {65: 1, 66: 4, 67: 30}
    results = runtime.branch(
        [], text, [(9, token_id) for token_id in lengths],
        stop=lambda ids: len(ids) == lengths[ids[0]], max_tokens=10,
    )  # fmt: skip

    assert [(len(ids), stopped) for ids, _, stopped in results] == [(1, True), (4, True), (10, False)]


def test_cancelling_keeps_the_cache_whole(runtime: Runtime) -> None:
    prompt = runtime.tokenizer.encode(PROMPT)
    expected = answer(runtime, prompt)
    asked = iter([False] * 7 + [True] * 99)

    with pytest.raises(Cancelled):
        answer(runtime, [*prompt, 5, 6], cancelled=lambda: next(asked))
    assert answer(runtime, prompt) == expected


def test_stop_tokens_end_the_answer(runtime: Runtime) -> None:
    prompt = runtime.tokenizer.encode(PROMPT)
    free = answer(runtime, prompt)

    assert answer(runtime, prompt, stop_ids=frozenset({free[3]})) == free[: free.index(free[3]) + 1]


def test_the_context_is_a_limit(runtime: Runtime) -> None:
    with pytest.raises(ContextOverflow, match="512"):
        answer(runtime, [1] * CONTEXT)
    assert len(answer(runtime, [1] * (CONTEXT - 3), 50)) == 3


def test_a_budget_that_was_named_is_what_the_context_has(tiny_model: Path) -> None:
    network = Runtime.load(tiny_model, threads=1)._model
    needs = qwen2_needs(GgufFile(tiny_model))
    assert isinstance(network, Qwen2Model)
    linears = [linear for layer in network.layers for linear in (layer.qkv, layer.output, layer.gate_up)]
    linears += [network.head, *(layer.down for layer in network.layers)]
    assert needs.weights == sum(linear.rows * linear.columns for linear in linears)
    assert needs.token_bytes == network.new_cache().token_bytes
    assert needs.state_bytes == 2 * network.kv_heads * network.head_dim * 4 * CONTEXT
    enough = shortfall(0, needs)  # of the least context, which here is the file's own
    named = Runtime.load(tiny_model, threads=1, memory=enough)
    assert named.context == CONTEXT and named._budget < CACHE_BUDGET
    with pytest.raises(EngineError, match="name more with --memory"):
        Runtime.load(tiny_model, threads=1, memory=enough - 1)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="llama"):
        Runtime.load(write_tiny_gguf(tmp_path / "other.gguf", architecture="llama"))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_of_prefill_are_one_prefill(runtime: Runtime, monkeypatch, chunk: int) -> None:
    text = runtime.tokenizer.encode(PROMPT * 2)
    whole = runtime.score(text[:10], text[10:], top=1)
    monkeypatch.setattr("engine.runtime.PREFILL_CHUNK", chunk)

    chunked = Runtime.load(runtime.path, threads=1).score(text[:10], text[10:], top=1)

    for (ours, _), (expected, _) in zip(chunked, whole, strict=True):
        assert ours == pytest.approx(expected, abs=2e-2)
