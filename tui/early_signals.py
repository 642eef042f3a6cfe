"""Ctrl-C and SIGTERM while what a run needs is read or loaded: noted until a loop can end it in order."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType

from agent.ending import Interrupted


class EarlySignals:
    """Those that have come, the first one first. A second one ends the process at once."""

    def __init__(self) -> None:
        self.come: list[int] = []

    def note(self, number: int, _frame: FrameType | None) -> None:
        if self.come:
            os._exit(128 + number)
        self.come.append(number)

    @property
    def ending(self) -> Interrupted:
        return Interrupted(terminated=self.come[0] == signal.SIGTERM)

    def read(self, fd: int) -> bytes:
        """All that comes, however late. Raises OSError, and Interrupted where a signal comes first."""
        data, (woken, wake) = bytearray(), os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Without that a signal right before the wait would be noticed only after it.
        before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            while not self.come:
                ready, _, _ = select.select([fd, woken], [], [])
                if fd not in ready:
                    continue
                piece = os.read(fd, 1 << 16)
                if not piece:
                    return bytes(data)
                data += piece
            raise self.ending
        finally:
            signal.set_wakeup_fd(before)
            os.close(woken)
            os.close(wake)


@contextlib.contextmanager
def noted() -> Iterator[EarlySignals]:
    early = EarlySignals()
    before = {number: signal.signal(number, early.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield early
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
