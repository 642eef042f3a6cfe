"""The scripted engine keeps the interface of the real one, so tests of the agent mean something."""

from __future__ import annotations

import inspect

import pytest

from engine import ChatRequest, Engine, EngineDied, Message, ScoreRequest, ToolCallDelta, Usage
from tests.scripted_engine import ScriptedEngine, call, malformed, say

REQUEST = ChatRequest(messages=(Message(role="user", content="Go"),))


def test_same_interface():
    for name in ("chat", "score", "branch", "cost", "show", "close", "__aenter__", "__aexit__"):
        real, scripted = getattr(Engine, name), getattr(ScriptedEngine, name)
        assert list(inspect.signature(real).parameters) == list(inspect.signature(scripted).parameters)
        assert inspect.isasyncgenfunction(real) == inspect.isasyncgenfunction(scripted)


async def test_answers_in_turn():
    engine = ScriptedEngine(
        [say("Hello", thinking="hm"), call("read", path="a"), malformed("edit", "{", "cut")]
    )
    kinds = [[delta.kind async for delta in engine.chat(REQUEST)] for _ in range(2)]
    assert kinds[0] == ["prefill", "thinking", "text", "text", "usage"]
    assert kinds[1] == ["prefill", "tool_call", "usage"]
    *_, made, usage = [delta async for delta in engine.chat(REQUEST)]
    assert isinstance(made, ToolCallDelta) and made.call.problem == "cut" and made.call.id == "call_1_0"
    assert isinstance(usage, Usage) and usage.finish == "tool_call"
    assert len(engine.requests) == 3
    with pytest.raises(AssertionError, match="no answer to chat number 4"):
        await anext(engine.chat(REQUEST))


async def test_failures_and_cancelling():
    engine = ScriptedEngine([say("Hello"), EngineDied("gone")], scores=[[], EngineDied("gone")])
    answer = engine.chat(REQUEST)
    await anext(answer)
    await anext(answer)
    await answer.aclose()
    assert engine.cancelled == 1
    with pytest.raises(EngineDied):
        [delta async for delta in engine.chat(REQUEST)]
    assert await engine.score(ScoreRequest(prefix="", text="")) == []
    with pytest.raises(EngineDied):
        await engine.score(ScoreRequest(prefix="", text=""))
