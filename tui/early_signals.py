"""Ctrl-C and SIGTERM while what a run needs is still loaded: noted until a loop can end it in order."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


class EarlySignals:
    """Those that have come, the first one first. A second one ends the process at once."""

    def __init__(self) -> None:
        self.come: list[int] = []

    def note(self, number: int, _frame: FrameType | None) -> None:
        if self.come:
            os._exit(128 + number)
        self.come.append(number)


@contextlib.contextmanager
def noted() -> Iterator[EarlySignals]:
    early = EarlySignals()
    before = {number: signal.signal(number, early.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield early
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
