"""The engine from the outside with real weights: the process, a conversation, the host's signals."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine import (
    BadModelFile,
    BranchRequest,
    BranchStart,
    ChatRequest,
    Effort,
    Engine,
    EngineDied,
    Message,
    PrefillDelta,
    Sampling,
    ScoreRequest,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolSpec,
    Usage,
)

pytestmark = pytest.mark.real_model

READ = ToolSpec(
    name="read_file",
    description="Read a file of the repository.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
FUNCTION = '''def double(x):
    """Twice the number."""
    return x + 2
'''


@pytest.fixture
async def engine(small_model: Path) -> AsyncIterator[Engine]:
    """The tests share one process, which leaves a little after the last."""
    async with await Engine.open(str(small_model), keep_alive=5) as engine:
        yield engine


def user(text: str) -> Message:
    return Message(role="user", content=text)


async def told(engine: Engine, request: ChatRequest) -> tuple[list, Usage]:
    *deltas, usage = [delta async for delta in engine.chat(request)]
    assert isinstance(usage, Usage)
    return deltas, usage


def text_of(deltas: list) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def test_a_conversation_prefills_only_what_is_new(engine: Engine):
    first = ChatRequest(messages=(user("What is the capital of France? One word."),), max_tokens=20)
    deltas, usage = await told(engine, first)
    answer = text_of(deltas)
    assert "Paris" in answer
    assert usage.mean_logprob is not None and usage.mean_logprob <= 0
    assert usage.mean_entropy is not None and usage.mean_entropy >= 0
    turn = Message(role="assistant", content=answer, token_ids=usage.token_ids)
    second = ChatRequest(messages=(*first.messages, turn, user("And of Italy? One word.")), max_tokens=20)
    cost = await engine.cost(second)
    deltas, again = await told(engine, second)
    assert "Rome" in text_of(deltas)
    assert again.cached >= usage.prompt + len(usage.token_ids) - 1
    assert (cost.cached, cost.prefill) == (again.cached, again.prompt - again.cached)


async def test_it_calls_a_tool(engine: Engine):
    request = ChatRequest(messages=(user("Read the file setup.py."),), tools=(READ,), max_tokens=80)
    deltas, usage = await told(engine, request)
    (call,) = [delta.call for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert (call.name, call.problem) == ("read_file", None)
    assert "setup.py" in call.arguments
    assert usage.finish == "tool_call"


async def test_thinking_keeps_its_budget(engine: Engine):
    request = ChatRequest(
        messages=(user("Is 91 a prime number?"),), effort=Effort.HIGH, thinking_budget=12, max_tokens=24
    )
    deltas, usage = await told(engine, request)
    assert any(isinstance(delta, ThinkingDelta) for delta in deltas)
    assert usage.generated <= 12 + 24


async def test_a_seed_repeats(engine: Engine):
    sampling = Sampling(temperature=1.0, top_p=0.95, seed=7)
    request = ChatRequest(messages=(user("Name an animal."),), sampling=sampling, max_tokens=12)
    assert (await told(engine, request))[1].token_ids == (await told(engine, request))[1].token_ids


async def test_the_model_is_surprised_where_the_bug_is(engine: Engine):
    """Score, then branch at the most surprising token: the host-only signals of the repair."""
    scores = await engine.score(ScoreRequest(prefix="# Well tested.\n", text=FUNCTION))
    assert FUNCTION[scores[-1].start : scores[-1].end] == "\n"
    assert all(before.end == after.start for before, after in itertools.pairwise(scores))
    body = [token for token in scores if token.start > FUNCTION.index("return") + 6]
    worst = max(body, key=lambda token: token.alternatives[0].logprob - token.logprob)
    assert FUNCTION[worst.start : worst.end].strip() in ("+", "2")
    starts = tuple(
        BranchStart(index=token.index, token_id=other.token_id)
        for token in (worst, scores[-1])
        for other in token.alternatives[:2]
    )
    branches = await engine.branch(BranchRequest(prefix="# Well tested.\n", text=FUNCTION, starts=starts))
    assert len(branches) == len(starts)
    assert all("\n" not in branch.text and branch.logprob < 0 for branch in branches)
    repaired = {FUNCTION[: worst.start] + branch.text for branch in branches[:2]}
    assert any(text.endswith(("return x * 2", "return x + x")) for text in repaired)


async def test_cancel_during_a_long_prefill(engine: Engine):
    long = ChatRequest(messages=(user("x = 1\n" * 4000),), max_tokens=8)
    answer = engine.chat(long)
    async for delta in answer:
        assert isinstance(delta, PrefillDelta)
        break
    await answer.aclose()
    async with asyncio.timeout(20):
        deltas, _ = await told(engine, ChatRequest(messages=(user("Say yes."),), max_tokens=4))
    assert text_of(deltas)


async def test_killed_while_it_decodes(engine: Engine, small_model: Path):
    request = ChatRequest(messages=(user("Count to one hundred."),), max_tokens=400)
    with pytest.raises(EngineDied):
        async for delta in engine.chat(request):
            if isinstance(delta, TextDelta):
                os.kill((await engine.status())["pid"], signal.SIGKILL)
    async with await Engine.open(str(small_model), keep_alive=5) as again:
        deltas, _ = await told(again, ChatRequest(messages=(user("Say yes."),), max_tokens=4))
        assert text_of(deltas)


async def test_a_truncated_file_is_one_sentence(small_model: Path, tmp_path: Path):
    cut = tmp_path / "cut.gguf"
    with small_model.open("rb") as whole:
        cut.write_bytes(whole.read(8 << 20))
    with pytest.raises(BadModelFile) as caught:
        await Engine.open(str(cut))
    assert "\n" not in str(caught.value)
    assert "cut.gguf" in str(caught.value)
