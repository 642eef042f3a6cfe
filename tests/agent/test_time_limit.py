"""The time of a run stands still while its model is loaded, and at no other time."""

from __future__ import annotations

import asyncio

import pytest

from agent import session
from agent.events import Model
from agent.time_limit import TimeLimit
from tests.agent.running import run
from tests.conftest import GitRepo
from tests.scripted_engine import call, say


async def test_what_passes_while_it_stands_still_is_not_counted():
    over = asyncio.Event()
    limit = TimeLimit(0.2, over.set)
    limit.go_on()
    limit.stand_still()
    await asyncio.sleep(0.5)
    assert not limit.used_up and not over.is_set()

    limit.go_on()
    await over.wait()
    assert limit.used_up


async def test_what_was_used_before_it_stood_still_is_used():
    over = asyncio.Event()
    limit = TimeLimit(0.2, over.set)
    limit.go_on()
    await over.wait()
    limit.stand_still()
    assert limit.used_up


async def test_no_limit_is_never_used_up():
    limit = TimeLimit(None, lambda: pytest.fail("there is no limit"))
    limit.go_on()
    await asyncio.sleep(0.05)
    assert not limit.used_up
    limit.stand_still()


async def test_a_run_counts_all_but_the_loading(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []

    class Watched(TimeLimit):
        def go_on(self) -> None:
            seen.append("goes on")
            super().go_on()

        def stand_still(self) -> None:
            seen.append("stands still")
            super().stand_still()

    emit = session.Session.emit

    def heard(at: session.Session, event: object) -> None:
        if isinstance(event, Model):
            seen.append(event.state)
        elif getattr(event, "type", "") in ("start", "tool_call"):
            seen.append(event.type)  # type: ignore[attr-defined]
        emit(at, event)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "TimeLimit", Watched)
    monkeypatch.setattr(session.Session, "emit", heard)
    ran = await run(git_repo({}), [call("write", path="a.txt", content="x\n"), say("Done.")], time_limit=3600)

    assert ran.end.outcome == "done"
    assert seen == [
        "goes on", "start", "loading", "stands still", "goes on", "ready", "tool_call", "stands still"
    ]  # fmt: skip
