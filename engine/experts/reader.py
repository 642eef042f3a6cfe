"""Threads that read experts while the layers compute: what is waited for first, what is guessed at after it.

A record is read in pieces by several threads, so that one expert comes as fast as the disk gives it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from engine.errors import EngineError


@dataclass(eq=False)
class Load:
    """One expert on its way into a slot. Its fields are the reader's, but for `slot`."""

    layer: int
    n: int
    slot: int
    memory: torch.Tensor
    """uint8, the slot's."""
    pieces: deque[tuple[int, int]] = field(default_factory=deque)
    """(offset, bytes) that nobody has taken yet."""
    working: int = 0
    """Threads that are at it: until it is none, the slot's memory is theirs."""
    urgent: bool = False
    dropped: bool = False
    done: bool = False
    error: EngineError | None = None


class Fetch(Protocol):
    """Where the bytes come from. Called in the reader's threads."""

    def pieces(self, layer: int, n: int) -> Sequence[tuple[int, int]]: ...
    def read(self, load: Load, offset: int, length: int) -> None: ...
    def finish(self, load: Load) -> None:
        """All pieces are there: check them, and make of them what the kernels take."""
        ...

    def close(self) -> None: ...


class Reader:
    """`threads` threads, until `close`."""

    def __init__(self, fetch: Fetch, threads: int):
        self._fetch = fetch
        self._urgent: deque[Load] = deque()
        self._ahead: deque[Load] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._busy = 0
        self.bytes_read = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"experts-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, load: Load, *, urgent: bool, last: bool = False) -> None:
        """Urgent ones in turn; of the others the newest first, and those marked `last` after all."""
        load.pieces.extend(self._fetch.pieces(load.layer, load.n))
        load.urgent = urgent
        with self._condition:
            if urgent or last:
                (self._urgent if urgent else self._ahead).append(load)
            else:
                self._ahead.appendleft(load)
            self._condition.notify_all()

    def wait(self, load: Load) -> None:
        """Until it is there; before all that is not waited for. Raises its EngineError."""
        with self._condition:
            self._hurry(load)
            while not load.done:
                if self._closing:
                    raise EngineError("The experts were closed while a layer waited for them.")
                self._condition.wait()
        if load.error is not None:
            raise load.error

    def hurry(self, load: Load) -> None:
        """It is no guess any more."""
        with self._condition:
            self._hurry(load)

    def drop(self, load: Load) -> bool:
        """Nobody wants it. Whether its slot is free at once; otherwise it is when the load is `done`."""
        with self._condition:
            if load.done:
                return True
            load.dropped = True
            self._break_off(load)
            load.done = load.working == 0
            return load.done

    def wait_until_done(self, load: Load) -> None:
        """Until no thread is at it, whether it came or was dropped."""
        with self._condition:
            while not load.done and not self._closing:
                self._condition.wait()

    def settle(self) -> None:
        """Until everything that was submitted is there."""
        with self._condition:
            while (self._urgent or self._ahead or self._busy) and not self._closing:
                self._condition.wait()

    def close(self) -> None:
        """Ends the threads after the piece each is at; waits for them."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._fetch.close()

    def _break_off(self, load: Load) -> None:
        load.pieces.clear()
        for queue in (self._urgent, self._ahead):
            if load in queue:
                queue.remove(load)

    def _hurry(self, load: Load) -> None:
        if load.urgent or load.done:
            return
        load.urgent = True
        if load in self._ahead:
            self._ahead.remove(load)
            self._urgent.append(load)

    def _work(self) -> None:
        while True:
            with self._condition:
                taken = self._take()
                while taken is None:
                    if self._closing:
                        return
                    self._condition.wait()
                    taken = self._take()
                self._busy += 1
            load, (offset, length) = taken
            error: EngineError | None = None
            try:
                self._fetch.read(load, offset, length)
            except EngineError as reason:
                error = reason
            except Exception as reason:
                error = EngineError(f"Expert {load.n} of layer {load.layer} could not be read ({reason}).")
            self._finished(load, length, error)

    def _take(self) -> tuple[Load, tuple[int, int]] | None:
        if self._closing:
            return None
        for queue in (self._urgent, self._ahead):
            if queue:
                load = queue[0]
                load.working += 1
                piece = load.pieces.popleft()
                if not load.pieces:
                    queue.popleft()
                return load, piece
        return None

    def _finished(self, load: Load, length: int, error: EngineError | None) -> None:
        with self._condition:
            self.bytes_read += length
            load.error = load.error or error
            if load.error is not None:
                self._break_off(load)
            last = not load.pieces and load.working == 1
            if not last:
                load.working -= 1
                self._busy -= 1
                return
        if load.error is None and not load.dropped:
            load.error = self._finish(load)
        with self._condition:
            load.working -= 1
            self._busy -= 1
            load.done = True
            self._condition.notify_all()

    def _finish(self, load: Load) -> EngineError | None:
        try:
            self._fetch.finish(load)
        except EngineError as reason:
            return reason
        except Exception as reason:
            return EngineError(f"Expert {load.n} of layer {load.layer} could not be loaded ({reason}).")
        return None
