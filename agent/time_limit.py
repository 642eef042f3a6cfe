"""The time that a run may take. It stands still while the model is loaded.

Loading takes seconds or many minutes, and nothing where an earlier run has left the model in memory: a limit
in which it counted would be another amount of work each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class TimeLimit:
    """Calls `over` when so many seconds went by between `go_on` and `stand_still`; None: never."""

    def __init__(self, seconds: float | None, over: Callable[[], None]) -> None:
        self._left = seconds
        self._over = over
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used_up(self) -> bool:
        if self._left is None:
            return False
        gone = time.monotonic() - self._since if self._timer else 0.0
        return gone >= self._left

    def go_on(self) -> None:
        if self._left is None or self._timer:
            return
        self._since = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._left), self._over)

    def stand_still(self) -> None:
        if self._left is None or self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._left -= time.monotonic() - self._since
