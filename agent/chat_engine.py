"""What the agent needs of an engine; `engine.Engine` has it, and so has a scripted one."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from engine.request import (
    BranchRequest,
    Capabilities,
    ChatRequest,
    Continuation,
    Cost,
    Delta,
    ScoredToken,
    ScoreRequest,
    ShownImage,
)


class ChatEngine(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Closing the generator cancels within one token."""
        ...

    async def score(self, request: ScoreRequest) -> list[ScoredToken]: ...

    async def branch(self, request: BranchRequest) -> list[Continuation]: ...

    async def cost(self, request: ChatRequest) -> Cost: ...

    async def show(self, data: bytes) -> ShownImage:
        """Hands over an image file; its hash then stands in `Message.images`. Raises BadImage."""
        ...

    async def close(self) -> None: ...


KEEP_ALIVE = 600.0
"""Seconds that the engine process waits for a next client. In CI none comes, and it ends at once."""
OpenEngine = Callable[[], Awaitable[ChatEngine]]
"""Opens the engine when it is first needed. Raises EngineError."""


def engine_for(ref: str, memory: int | None = None) -> OpenEngine:
    """The engine process of this user for a model reference; nothing of it is imported before.

    `memory` is what the model may take, in bytes.
    """

    async def open_engine() -> ChatEngine:
        from engine import Engine

        keep_alive = 0.0 if os.environ.get("CI") else KEEP_ALIVE
        return await Engine.open(ref, memory=memory, keep_alive=keep_alive)

    return open_engine
