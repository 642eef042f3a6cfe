"""Gathers small pieces of output into few events: a test runner prints a dot at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

DELAY = 0.1
"""Seconds that a piece waits for more at most."""


class Gathered:
    """`push` pieces; `emit` gets them together, in order. To be closed, or the last ones are lost."""

    def __init__(self, emit: Callable[[str], None], delay: float = DELAY) -> None:
        self._emit = emit
        self._delay = delay
        self._pieces: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def push(self, text: str) -> None:
        self._pieces.append(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self.close)

    def close(self) -> None:
        """Hands over what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text, self._pieces = "".join(self._pieces), []
        if text:
            self._emit(text)
