"""What an engine process has to do with any model: answer at each effort, with tools before it."""

from __future__ import annotations

from engine import ChatRequest, Effort, Engine, Message, TextDelta, ThinkingDelta, ToolSpec, Usage


async def answers_at_each_effort(engine: Engine) -> list[ChatRequest]:
    """The requests it has answered."""
    tool = ToolSpec(name="read_file", description="", parameters={"type": "object"})
    question = (Message(role="user", content="What is in a.py?"),)
    asked = [
        ChatRequest(messages=question, tools=(tool,), effort=effort, max_tokens=8, thinking_budget=4)
        for effort in Effort
    ]
    for request in asked:
        deltas = [delta async for delta in engine.chat(request)]
        usage = deltas[-1]
        assert isinstance(usage, Usage) and usage.generated
        assert any(isinstance(delta, TextDelta | ThinkingDelta) for delta in deltas)
    return asked
