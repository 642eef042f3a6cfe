"""Going on with an earlier session: what its journal says, and what its model is told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agent.effort import Signals
from agent.ending import WrongUsage
from agent.events import Tokens, Warn
from agent.journal import Record, understood
from agent.listing import listed
from agent.options import RunOptions
from agent.prompts import prompt
from agent.tally import Level, Tally
from agent.timeline import Timeline
from agent.undo import told
from engine.request import Message, ToolCall
from sandbox import SandboxError

if TYPE_CHECKING:
    from agent.session import Session

MOST_NAMED = 50
"""Files that the model is told of: a call may have changed a hundred thousand."""
UNCHANGED = "No file has changed since the last call that had a result."


@dataclass
class Resumed:
    """The state of a session, from its records."""

    options: RunOptions
    history: list[Message] = field(default_factory=list)
    start_tree: str = ""
    last_tree: str = ""
    tally: Tally = field(default_factory=Tally)
    level: Level = "none"
    """The effort of the last step."""
    denied: list[str] = field(default_factory=list)
    repository: dict[str, Any] | None = None
    """How HEAD and what is not committed were at the first start, where `--commit` was given."""
    before: dict[str, Any] | None = None
    """Git's folders at the first start, and the refs when they were told last (agent/left_behind.py)."""
    candidates: dict[str, str] = field(default_factory=dict)
    """Files that may hold a candidate nobody verified, with the SHA-256 of that."""
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def signals(self) -> Signals:
        """Enough of them that an effort once raised stays."""
        return Signals(failed_checks=1 if self.level == "high" else 0)

    @classmethod
    def read(cls, records: list[Record]) -> Resumed:
        """Raises WrongUsage where the session was killed before it recorded what it was told, and
        EnvironmentProblem where its journal is damaged."""
        told = [record["options"] for record in records if record["kind"] == "options"]
        if not told:
            raise WrongUsage("This session ended before it began; start a new one.")
        try:
            state = cls(RunOptions.model_validate(told[-1]))
        except ValidationError:
            raise WrongUsage("Another version of Ostro recorded this session; start a new one.") from None
        with understood():
            for record in records:
                state._take(record)
            state.timeline = Timeline.read(records)
        if state.timeline.at:
            state.start_tree, state.last_tree = state.timeline.points[0].tree, state.timeline.at.tree
        return state

    def _take(self, record: Record) -> None:
        match record["kind"]:
            case "message":
                self.history.append(Message.model_validate(record["message"]))
            case "repository":
                self.repository = self.repository or record
            case "before":
                self.before = {name: value for name, value in record.items() if name != "kind"}
            case "commits" if self.before:
                self.before["refs"] = None
            case "candidate" if record["sha256"]:
                self.candidates[record["path"]] = record["sha256"]
            case "candidate":
                self.candidates.pop(record["path"], None)
            case "event":
                self._count(record["event"])

    def _count(self, event: Record) -> None:
        match event["type"]:
            case "effort":
                self.level = event["effort"]
            case "step":
                self.tally.step(self.level if event["phase"] == "tools" else "none")
            case "usage":
                counts = {name: event[name] for name in ("prompt", "cached", "generated")}
                self.tally.spend(**counts)
            case "approval" if event["decision"] == "denied":
                self.denied.append(event["what"])
            case "end":
                if self.before:  # what had moved was told before it
                    self.before["refs"] = None
                tokens = Tokens.model_validate(event["tokens"])
                self.tally = Tally(event["steps"], dict(event["effort"]), tokens)

    async def take_back(self, session: Session) -> None:
        """Restores files that hold a candidate which was tried when the session was killed."""
        for path, digest in self.candidates.items():
            if not await session.workspace.exists(path):
                continue
            if hashlib.sha256(await session.workspace.read(path)).hexdigest() == digest:
                await session.workspace.restore(self.last_tree, [path])
                session.emit(Warn(text=f"{path} held a change that was not verified yet; it was taken back."))
            session.expect(path, None)

    async def tell(self, session: Session, now: str) -> None:
        """Tells the model which calls were cut off, and what is different from what it last saw."""
        note = await self._difference(session, now)
        undone = told(self.timeline.untold) if self.timeline.untold else ""
        self.timeline.untold.clear()
        closed = close_open_calls(session, note)
        if not session.history:
            return
        if closed or note == UNCHANGED:
            note = ""
        if text := " ".join(filter(None, [undone, note])):
            session.add(Message(role="user", content=text))

    async def _difference(self, session: Session, now: str) -> str:
        if now == self.last_tree:
            return UNCHANGED
        try:
            files = await session.workspace.changed(self.last_tree, now)
        except SandboxError:
            return "Files may have changed since the last call that had a result: read them again."
        if not files:
            return UNCHANGED
        names = listed(files, most=MOST_NAMED)
        return f"Changed since the last call that had a result: {names}. Read them again."


def open_calls(history: list[Message]) -> list[ToolCall]:
    """The calls at the end of the history that have no result."""
    answered = set()
    for message in reversed(history):
        if message.role == "tool":
            answered.add(message.tool_call_id)
        elif message.role == "assistant":
            return [call for call in message.tool_calls if call.id not in answered]
    return []


def close_open_calls(session: Session, note: str) -> bool:
    """Answers each call that has no result as interrupted; whether there was one."""
    calls = open_calls(session.history)
    for call in calls:
        text = prompt("interrupted_call", tree=note)
        session.add(Message(role="tool", content=text, tool_call_id=call.id))
    return bool(calls)
