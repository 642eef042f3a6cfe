"""A word now and then while a step says nothing, so that nobody sits before silence."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from agent.ending import Ending
from agent.events import AnyEvent, Candidate, Model, Phase, Progress, Step
from engine.request import Delta, PrefillDelta, TextDelta, ThinkingDelta, Usage

if TYPE_CHECKING:
    from agent.session import Session

EVERY = 10.0
"""Seconds without any event before there is one of these."""


class Heartbeat:
    """Counts what the step at hand has done, and emits `progress` where nothing else is emitted."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._phase: Phase | Literal["starting"] = "starting"
        self._loading = False
        self._since = self._last = time.monotonic()
        self._tried = 0
        self._read = self._written = 0
        """Tokens of this session when the step began."""
        self._reading = self._writing = 0
        """Tokens of the answer that is being made; they are in no count of the session's yet."""

    def note(self, event: AnyEvent) -> None:
        """Hears of every event."""
        now = self._last = time.monotonic()
        match event:
            case Step():
                self._phase, self._since, self._tried = event.phase, now, 0
                tokens = self._session.tally.tokens
                self._read, self._written = tokens.prompt - tokens.cached, tokens.generated
                self._reading = self._writing = 0
            case Model():
                self._loading, self._since = event.state == "loading", now
            case Candidate():
                self._tried += 1

    def hear(self, delta: Delta) -> None:
        """Hears of every piece of an answer."""
        match delta:
            case PrefillDelta():
                self._reading = delta.done
            case TextDelta() | ThinkingDelta():
                self._writing += 1
            case Usage():
                self._reading = self._writing = 0

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        self._last = time.monotonic()
        beat = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beat.cancel()

    async def _beat(self) -> None:
        # Where the journal cannot be written, what the run itself writes next says so.
        with contextlib.suppress(Ending):
            while True:
                if self._session.approvals.waiting:  # the answer will be an event
                    await asyncio.sleep(EVERY)
                    continue
                silent = time.monotonic() - self._last
                if silent < EVERY:
                    await asyncio.sleep(EVERY - silent)
                    continue
                self._session.emit(self._progress())

    def _progress(self) -> Progress:
        tokens = self._session.tally.tokens
        return Progress(
            phase="loading" if self._loading else self._phase,
            seconds=round(time.monotonic() - self._since, 3),
            candidates=self._tried,
            read=tokens.prompt - tokens.cached - self._read + self._reading,
            written=tokens.generated - self._written + self._writing,
        )
