"""Reaching the engine process of a model: connect to the one that runs, or start one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
from pydantic import ValidationError

from engine import locations, wire
from engine.errors import EngineError
from engine.locations import Meeting
from engine.wire import Frame, Hello

START_SECONDS = 60.0
"""How long a host may take until it answers (it answers long before the model is loaded)."""
HELLO_SECONDS = 20.0
RETRY_SECONDS = 0.03
RESTART_SECONDS = 0.5
LEAVE_SECONDS = 5.0
"""For an engine that nobody uses to give its memory back."""
NOTICED_SECONDS = 0.2
ROOT = Path(__file__).resolve().parent.parent
# With -I neither the working directory nor PYTHONPATH is on the path, so a source checkout names itself.
BOOT = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from engine.host import main; main()"
)

_children: list[subprocess.Popen[bytes]] = []
"""Hosts this process started: kept so that those that ended are reaped at the next start."""


@dataclass
class Link:
    """A connection to a host of this version."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int
    meeting: Meeting

    def send(self, frame: Frame) -> None:
        self.writer.write(wire.encode(frame))


async def reach(model: Path, keep_alive: float, memory: int | None = None) -> Link:
    """Connect to the host of this model file with this budget, starting it where there is none.

    Raises EngineError.
    """
    meeting = locations.meeting(model, memory)
    deadline = time.monotonic() + START_SECONDS
    start: _Start | None = None
    while time.monotonic() < deadline:
        link = await _greet(meeting, keep_alive)
        if link is not None:
            return link
        if start is None:
            await _free_other_budgets(model, memory)
        if start is None or start.lost_race():
            command = host_command(model, meeting, keep_alive)
            start = _Start(command if memory is None else [*command, "--memory", str(memory)], meeting)
        await asyncio.sleep(RETRY_SECONDS)
    raise EngineError(
        f"The engine process did not answer within {START_SECONDS:.0f} s; its log is {meeting.log}."
    )


def host_command(model: Path, meeting: Meeting, keep_alive: float) -> list[str]:
    """What starts a host: `python -I -m engine.host`, for an engine that need not be installed."""
    host = [str(model.resolve()), str(meeting.socket), "--keep-alive", str(keep_alive)]
    return [sys.executable, "-I", "-c", BOOT, str(ROOT), *host]


class _Start:
    """One attempt to start a host."""

    def __init__(self, command: list[str], meeting: Meeting):
        _children[:] = [child for child in _children if child.poll() is None]
        self._meeting = meeting
        self._began = time.monotonic()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the attempt
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            cwd="/",
            start_new_session=True,
        )
        _children.append(self._process)

    def lost_race(self) -> bool:
        """Whether it left because another host holds the lock (perhaps one on its way out).

        Raises EngineError where it failed.
        """
        status = self._process.poll()
        if status is None:
            return False
        if status != 0:
            raise EngineError(
                f"The engine process ended as it started ({_ending(status)}{self._last_words()}); "
                f"its log is {self._meeting.log}."
            )
        return time.monotonic() - self._began > RESTART_SECONDS

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""


def _ending(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


async def _greet(meeting: Meeting, keep_alive: float) -> Link | None:
    """A link to the host that listens there; None where none does, or one that cannot stay."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(meeting.socket))
    except OSError:
        return None
    kept = False
    try:
        hello = Hello(protocol=wire.PROTOCOL, build=wire.build(), pid=os.getpid(), keep_alive=keep_alive)
        writer.write(wire.encode(hello.model_dump()))
        async with asyncio.timeout(HELLO_SECONDS):
            frame = await wire.read_frame(reader)
        if frame is None:
            return None
        theirs = Hello.model_validate(frame)
        if (theirs.protocol, theirs.build) == (hello.protocol, hello.build):
            kept = True
            return Link(reader, writer, theirs.pid, meeting)
        await _dismiss(reader, writer)
        return None
    except TimeoutError:
        raise EngineError(
            f"The engine process does not answer; end it (its number is in {meeting.log}) and try again."
        ) from None
    except OSError:
        return None
    finally:
        if not kept:
            writer.close()


async def _free_other_budgets(model: Path, memory: int | None) -> None:
    """Let engines of this model that were told another budget go with their last client: now, where nobody
    uses them. Two of them together would take more than either was told."""
    for budget, socket in locations.budgets_met(model).items():
        if budget == memory:
            continue
        with contextlib.suppress(OSError, EngineError, ValidationError, TimeoutError):
            await _let_go(socket)


async def _let_go(socket: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            hello = Hello(protocol=wire.PROTOCOL, build=wire.build(), pid=os.getpid())
            writer.write(wire.encode(hello.model_dump()))
            frame = await wire.read_frame(reader)
            if frame is None:
                return
            pid = Hello.model_validate(frame).pid
            writer.write(wire.encode({"type": "shutdown"}))
            writer.write_eof()
            while await wire.read_frame(reader) is not None:
                pass
            # It has heard us. One that has other clients keeps its socket.
            await asyncio.sleep(NOTICED_SECONDS)
            for _ in range(int(LEAVE_SECONDS / RETRY_SECONDS)):
                if socket.exists() or not _runs(pid):
                    return
                await asyncio.sleep(RETRY_SECONDS)
    finally:
        writer.close()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


async def _dismiss(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask a host of another version to leave, and wait until it hangs up."""
    writer.write(wire.encode({"type": "shutdown", "now": True}))
    async with asyncio.timeout(HELLO_SECONDS):
        while await wire.read_frame(reader) is not None:
            pass
