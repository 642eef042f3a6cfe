from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import events
from agent.commands import Approve, Command, Deny, Interrupt, SendMessage, Stop
from agent.ending import EnvironmentProblem
from agent.journal import find, read
from agent.opening import open_session
from agent.options import RunOptions
from agent.session import Session
from engine.request import ChatRequest, Delta, PrefillDelta
from tests.agent.running import run
from tests.conftest import GitRepo
from tests.scripted_engine import Answer, ScriptedEngine, call, say


class SlowEngine(ScriptedEngine):
    """Never gets past the prefill of the answers after its script."""

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        if len(self.requests) == self.quick:
            self.requests.append(request)
            try:
                yield PrefillDelta(done=1, total=1000)
                await asyncio.sleep(3600)
            finally:
                self.cancelled += 1
        async for delta in super().chat(request):
            yield delta

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__(answers)
        self.quick = len(answers)


@asynccontextmanager
async def session_of(repo: Path, engine: ScriptedEngine, **options: Any) -> AsyncIterator[Session]:
    async def open_engine() -> ScriptedEngine:
        return engine

    given: dict[str, Any] = {"kind": "run", "task": "Do it.", "model": "scripted", **options}
    async with open_session(RunOptions(repo=repo, **given), open_engine) as session:
        yield session


async def drive(
    session: Session, react: Callable[[events.AnyEvent], Command | None]
) -> list[events.AnyEvent]:
    seen = []
    async for event in session.run():
        seen.append(event)
        if command := react(event):
            session.send(command)
    return seen


def end_of(seen: list[events.AnyEvent]) -> events.End:
    assert isinstance(seen[-1], events.End)
    return seen[-1]


@pytest.mark.parametrize(
    ("command", "code"), [(Interrupt(), 130), (Stop(terminated=True), 143)], ids=["interrupt", "terminate"]
)
async def test_stopped_in_a_prefill_with_the_patch_so_far(git_repo: GitRepo, command: Command, code: int):
    engine = SlowEngine([call("write", path="a.txt", content="half\n")])
    async with session_of(git_repo({}), engine) as session:
        seen = await drive(
            session, lambda event: command if isinstance(event, events.Step) and event.step == 2 else None
        )

    end = end_of(seen)
    assert (end.outcome, end.exit_code, end.changed_files) == ("interrupted", code, ["a.txt"])
    assert "+half" in end.patch and engine.cancelled == 1 and engine.closed


async def test_stopped_in_a_command(git_repo: GitRepo):
    repo = git_repo({})
    engine = ScriptedEngine([call("shell", command="echo started; sleep 60; touch late")])
    async with session_of(repo, engine) as session:
        seen = await drive(
            session, lambda event: Interrupt() if isinstance(event, events.ToolOutput) else None
        )

    assert end_of(seen).outcome == "interrupted" and end_of(seen).seconds < 20
    assert not (repo / "late").exists()


async def test_the_time_limit(git_repo: GitRepo):
    async with session_of(git_repo({}), SlowEngine([]), time_limit=0.5) as session:
        seen = await drive(session, lambda event: None)

    end = end_of(seen)
    assert (end.outcome, end.exit_code) == ("limit", 1)
    assert end.reason.startswith("The time limit of 0.5 s was reached; --time-limit sets it.")


async def test_a_fault_of_our_own_is_one_sentence_and_its_traceback_is_in_the_journal(git_repo: GitRepo):
    ran = await run(git_repo({}), [RuntimeError("a bug")])

    assert (ran.end.outcome, ran.end.exit_code) == ("fault", 70)
    assert "journal.jsonl" in ran.end.reason and "bug" not in ran.end.reason
    faults = [record for record in ran.records if record["kind"] == "fault"]
    assert "RuntimeError: a bug" in faults[0]["traceback"]


async def test_every_event_is_in_the_journal_and_stamped(git_repo: GitRepo):
    ran = await run(git_repo({}), [say("Hello there.")])

    written = [record["event"] for record in ran.records if record["kind"] == "event"]
    assert written == [event.model_dump(mode="json") for event in ran.events]
    stamps = [event.t for event in ran.events]
    assert stamps == sorted(stamps) and stamps[-1] > 0
    assert isinstance(ran.events[0], events.Start) and ran.events[0].sandbox["mechanism"]


async def test_a_second_session_in_the_repository_is_told_of_the_first(git_repo: GitRepo):
    repo = git_repo({"sub/a": ""})
    async with session_of(repo, ScriptedEngine()) as first:
        with pytest.raises(EnvironmentProblem, match=first.id):
            async with session_of(repo / "sub", ScriptedEngine()):
                pass


async def test_not_a_repository(tmp_path: Path):
    with pytest.raises(EnvironmentProblem, match="not in a git repository"):
        async with session_of(tmp_path, ScriptedEngine()):
            pass


async def test_a_stream_that_is_abandoned_stops_the_work(git_repo: GitRepo):
    engine = SlowEngine([])
    async with session_of(git_repo({}), engine) as session:
        stream = session.run()
        async for event in stream:
            if isinstance(event, events.Step):
                break
        await asyncio.sleep(0.1)
        await stream.aclose()

    assert engine.cancelled == 1


async def test_a_conversation_of_two_turns(git_repo: GitRepo):
    engine = ScriptedEngine([say("One."), say("Two.")])

    def react(event: events.AnyEvent) -> Command | None:
        if isinstance(event, events.Checkpoint):
            return SendMessage(text="first")
        if isinstance(event, events.UsageEvent):
            return SendMessage(text="second") if len(engine.requests) == 1 else Stop()
        return None

    async with session_of(git_repo({}), engine, kind="session", task=None) as session:
        seen = await drive(session, react)

    assert (end_of(seen).outcome, end_of(seen).exit_code) == ("done", 0)
    assert [message.content for message in engine.requests[1].messages[1:]] == ["first", "One.", "second"]


async def test_an_interrupt_ends_the_turn_and_not_the_session(git_repo: GitRepo):
    engine = SlowEngine([])

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint():
                return SendMessage(text="go")
            case events.Step():
                return Interrupt()
            case events.Warn(text="Interrupted."):
                return Stop()
        return None

    async with session_of(git_repo({}), engine, kind="session", task=None) as session:
        seen = await drive(session, react)

    assert end_of(seen).outcome == "done"


@pytest.mark.parametrize("allow", [True, False])
async def test_a_person_is_asked(git_repo: GitRepo, allow: bool):
    repo = git_repo({})
    engine = ScriptedEngine([call("shell", command="touch a.txt; git commit"), say("So.")])

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.Approval(decision="asked"):
                return Approve(id=event.id) if allow else Deny(id=event.id)
            case events.UsageEvent() if len(engine.requests) == 2:
                return Stop()
        return None

    async with session_of(repo, engine, kind="session", task=None, approve="ask") as session:
        seen = await drive(session, react)

    assert (repo / "a.txt").exists() is allow
    assert end_of(seen).denied == ([] if allow else ["shell touch a.txt; git commit"])
    assert end_of(seen).exit_code == (0 if allow else 4)


async def test_in_a_session_nothing_asks_that_stays_inside(git_repo: GitRepo):
    repo = git_repo({"a.txt": "x\n"})
    made = [
        call("read", path="a.txt"),
        call("write", path="b.txt", content="y\n"),
        call("edit", path="a.txt", old="x", new="z"),
        call("shell", command="git add --all && git stash list && git diff"),
        say("So."),
    ]
    engine = ScriptedEngine(made)

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.UsageEvent() if len(engine.requests) == len(made):
                return Stop()
        return None

    async with session_of(repo, engine, kind="session", task=None, approve="ask") as session:
        assert session.sandbox.describe()["tier"] in ("A", "B")
        seen = await drive(session, react)

    assert not [event for event in seen if isinstance(event, events.Approval)]
    assert end_of(seen).changed_files == ["a.txt", "b.txt"]


async def test_a_session_without_start_is_no_resume(git_repo: GitRepo):
    async with session_of(git_repo({}), ScriptedEngine()) as session:
        assert read(find(session.id)) == []
