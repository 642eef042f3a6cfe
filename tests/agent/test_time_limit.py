"""The time of a run stands still while its model is loaded, and at no other time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from agent import session
from agent.events import AnyEvent, Model
from agent.time_limit import TimeLimit
from tests.agent.running import run
from tests.conftest import GitRepo
from tests.scripted_engine import call, say


class Clock:
    """Goes on by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        self.timers.append(Timer(self, self.now + delay, callback))
        return self.timers[-1]

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.at <= self.now]:
            timer.cancel()
            timer.callback()


@dataclass(frozen=True)
class Timer:
    clock: Clock
    at: float
    callback: Callable[[], None]

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_passes_while_it_stands_still_is_not_counted(clock: Clock):
    over: list[float] = []
    limit = TimeLimit(20, lambda: over.append(clock.now), clock)
    limit.go_on()
    clock.pass_by(15)
    limit.stand_still()
    clock.pass_by(500)
    assert not limit.used_up and not over

    limit.go_on()
    clock.pass_by(4)
    assert not limit.used_up and not over
    clock.pass_by(1)
    assert limit.used_up and over == [1520]


def test_what_was_used_before_it_stood_still_is_used(clock: Clock):
    over: list[float] = []
    limit = TimeLimit(20, lambda: over.append(clock.now), clock)
    limit.go_on()
    clock.pass_by(20)
    assert over == [1020]
    limit.stand_still()
    assert limit.used_up


def test_no_limit_is_never_used_up(clock: Clock):
    limit = TimeLimit(None, lambda: pytest.fail("there is no limit"), clock)
    limit.go_on()
    clock.pass_by(1e9)
    assert not limit.used_up and not clock.timers
    limit.stand_still()


async def test_without_a_clock_it_is_the_loops():
    over = asyncio.Event()
    limit = TimeLimit(0.01, over.set)
    limit.go_on()
    assert await asyncio.wait_for(over.wait(), 60)


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

    def heard(at: session.Session, event: AnyEvent) -> None:
        if isinstance(event, Model):
            seen.append(event.state)
        elif event.type in ("start", "tool_call"):
            seen.append(event.type)
        emit(at, event)

    monkeypatch.setattr(session, "TimeLimit", Watched)
    monkeypatch.setattr(session.Session, "emit", heard)
    ran = await run(git_repo({}), [call("write", path="a.txt", content="x\n"), say("Done.")], time_limit=3600)

    assert ran.end.outcome == "done"
    assert seen == [
        "goes on", "start", "loading", "stands still", "goes on", "ready", "tool_call", "stands still"
    ]  # fmt: skip
