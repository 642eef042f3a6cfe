"""A long step says how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import heartbeat
from agent.commands import Approve, SendMessage, Stop
from agent.events import AnyEvent, Candidate, End, Progress
from agent.opening import open_session
from agent.options import RunOptions
from engine.request import (
    BranchRequest,
    ChatRequest,
    Continuation,
    Delta,
    PrefillDelta,
    ScoredToken,
    ScoreRequest,
    TextDelta,
)
from tests.agent.search.knowing_engine import KnowingEngine
from tests.agent.test_fix import BROKEN, PYTEST, RIGHT, TESTS
from tests.conftest import GitRepo
from tests.scripted_engine import ScriptedEngine, call, say

LONG = 0.5
"""Seconds of a step that takes long, beside a heartbeat of a tenth of that."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", LONG / 10)


async def events_of(repo: Path, engine, *, loading: float = 0.0, **options) -> list[AnyEvent]:
    async def open_engine():
        await asyncio.sleep(loading)
        return engine

    given = {"kind": "run", "task": "Do it.", "model": "scripted", "repo": repo, **options}
    async with open_session(RunOptions(**given), open_engine) as session:
        return [event async for event in session.run()]


def end_of(seen: list[AnyEvent]) -> End:
    assert isinstance(seen[-1], End)
    return seen[-1]


def progress(seen: list[AnyEvent], phase: str) -> list[Progress]:
    return [event for event in seen if isinstance(event, Progress) and event.phase == phase]


class SlowSearch(KnowingEngine):
    """Reads and goes on as a loaded machine does."""

    async def score(self, request: ScoreRequest) -> list[ScoredToken]:
        await asyncio.sleep(LONG)
        return await super().score(request)

    async def branch(self, request: BranchRequest) -> list[Continuation]:
        await asyncio.sleep(LONG)
        return await super().branch(request)


async def test_a_search_says_how_far_it_is(git_repo: GitRepo):
    repo = git_repo({"prices.py": BROKEN, "test_prices.py": TESTS})
    told = {"kind": "fix", "task": None, "command": PYTEST}
    seen = await events_of(repo, SlowSearch(RIGHT), **told)

    said = progress(seen, "search")
    assert end_of(seen).outcome == "done" and any(isinstance(event, Candidate) for event in seen)
    assert said and max(event.read for event in said) > 0, "what was read is counted as it is read"
    assert [event.seconds for event in said] == sorted(event.seconds for event in said)


class Halting(ScriptedEngine):
    """Its answers stop half way for a while."""

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        yield PrefillDelta(done=300, total=1000)
        await asyncio.sleep(LONG)
        yield TextDelta(text="So")
        await asyncio.sleep(LONG)
        for delta in self._deltas(request, say("So.")):
            yield delta


async def test_the_answer_that_is_being_made_counts(git_repo: GitRepo):
    said = progress(await events_of(git_repo({}), Halting()), "tools")

    assert {(300, 0), (300, 1)} <= {(event.read, event.written) for event in said}


async def test_loading_is_told_as_loading(git_repo: GitRepo):
    seen = await events_of(git_repo({}), ScriptedEngine([say("Done.")]), loading=LONG)

    assert progress(seen, "loading") and end_of(seen).outcome == "done"


async def test_a_question_to_a_person_is_no_silence(git_repo: GitRepo):
    seen: list[AnyEvent] = []
    engine = ScriptedEngine([call("shell", command="git commit --help >/dev/null"), say("So.")])

    async def open_engine() -> ScriptedEngine:
        return engine

    options = RunOptions(kind="session", repo=git_repo({}), model="scripted", approve="ask")
    async with open_session(options, open_engine) as session:
        session.send(SendMessage(text="go"))
        async for event in session.run():
            seen.append(event)
            if event.type == "approval" and event.decision == "asked":
                asyncio.get_running_loop().call_later(LONG, session.send, Approve(id=event.id))
            if event.type == "usage" and len(engine.requests) == 2:
                session.send(Stop())

    asked = next(n for n, event in enumerate(seen) if event.type == "approval")
    assert seen[asked + 1].type == "approval", "until the answer there is nothing to tell"


async def test_it_sleeps_while_a_person_is_asked(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    wait = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await wait(0)

    later = iter(range(0, 10**6, 100))
    async with open_session(RunOptions(kind="session", repo=git_repo({}))) as session:
        with monkeypatch.context() as patch:
            patch.setattr(heartbeat, "EVERY", 10.0)
            patch.setattr(type(session.approvals), "waiting", True)
            patch.setattr(heartbeat, "time", SimpleNamespace(monotonic=later.__next__))
            patch.setattr(asyncio, "sleep", sleep)
            async with session.heartbeat.beating():
                for _ in range(20):
                    await wait(0)
    assert len(slept) > 5 and set(slept) == {10.0}
