"""The time that a run may take. It stands still while the model is loaded.

Loading takes seconds or many minutes, and nothing where an earlier run has left the model in memory: a limit
in which it counted would be another amount of work each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """What an event loop has."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer: ...


class TimeLimit:
    """Calls `over` when so many seconds went by between `go_on` and `stand_still`; None: never."""

    def __init__(self, seconds: float | None, over: Callable[[], None], clock: Clock | None = None) -> None:
        """By the `clock` of the running loop, where none is given."""
        self._left = seconds
        self._over = over
        self._given = clock
        self._since = 0.0
        self._timer: Timer | None = None

    @property
    def used_up(self) -> bool:
        if self._left is None:
            return False
        gone = self._clock.time() - self._since if self._timer else 0.0
        return gone >= self._left

    def go_on(self) -> None:
        if self._left is None or self._timer:
            return
        self._since = self._clock.time()
        self._timer = self._clock.call_later(max(0.0, self._left), self._over)

    def stand_still(self) -> None:
        if self._left is None or self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._left -= self._clock.time() - self._since

    @property
    def _clock(self) -> Clock:
        return self._given or asyncio.get_running_loop()
