"""Runs sessions with a scripted engine, in the real sandbox, over real repositories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.events import AnyEvent, End
from agent.journal import Record, find, read
from agent.opening import open_session
from agent.options import RunOptions
from engine.request import Message
from tests.scripted_engine import Answer, ScriptedEngine

PYTHON = "python3"
"""The sandbox finds the caller's, whatever that is."""
ROOT = Path(__file__).parents[2]
"""Where the rooms lie, for Pythons started by a test."""
T = TypeVar("T")


@dataclass
class Ran:
    session: str
    events: list[AnyEvent]
    engine: ScriptedEngine

    @property
    def end(self) -> End:
        assert isinstance(self.events[-1], End)
        assert sum(isinstance(event, End) for event in self.events) == 1
        return self.events[-1]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def records(self) -> list[Record]:
        return read(find(self.session))

    @property
    def told(self) -> list[Message]:
        """What the last request showed to the model."""
        return list(self.engine.requests[-1].messages)


async def run(
    repo: Path,
    answers: Iterable[Answer | Exception] = (),
    *,
    engine: ScriptedEngine | None = None,
    **options: Any,
) -> Ran:
    scripted = engine or ScriptedEngine(answers)
    given: dict[str, Any] = {"kind": "run", "repo": repo, "model": "scripted", **options}
    if "task" not in given and not given.get("resume"):
        given["task"] = "Correct it."

    async def open_engine() -> ScriptedEngine:
        return scripted

    async with open_session(RunOptions(**given), open_engine) as session:
        events = [event async for event in session.run()]
        return Ran(session.id, events, scripted)
