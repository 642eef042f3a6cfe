"""The engine process: loads one model and answers its user's clients over a private unix socket.

    python -I -m engine.host MODEL SOCKET --keep-alive SECONDS [--memory BYTES]

It accepts clients while it still loads, ends when it had none for the keep-alive time, on SIGTERM, or when
a client of another version asks it to. torch is imported in the thread that loads, nowhere else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import logging.handlers
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine import wire
from engine.errors import EngineError
from engine.jobs import REQUESTS, Job, JobQueue, read_request
from engine.locations import Meeting, beside
from engine.model import Load, Model
from engine.wire import Frame, Hello

if TYPE_CHECKING:
    from engine.network import Opened

log = logging.getLogger(__name__)

FIRST_CLIENT_SECONDS = 15.0
"""However short the keep-alive, whoever started the host gets this long to connect."""
UNREAD_LIMIT = 16 * 1024 * 1024
"""Bytes a client may leave unread before it is hung up on."""
LOG_BYTES = 512 * 1024
STOP_SECONDS = 3.0
SETTLE_SECONDS = 0.2
"""After a failure to load has been told, for others who are just saying hello."""


class Client:
    """One connection."""

    def __init__(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._host, self._reader, self._writer = host, reader, writer
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[int, Job] = {}
        self.greeted = False

    async def serve(self) -> None:
        """Until either side hangs up."""
        try:
            while (frame := await wire.read_frame(self._reader)) is not None:
                self._receive(frame)
        except EngineError as error:
            self.send(wire.error_frame(error))
        finally:
            self.cancel_all()
            self.hang_up()

    def cancel_all(self) -> None:
        for job in self._jobs.values():
            job.cancelled.set()

    def hang_up(self) -> None:
        self._writer.close()

    def send(self, frame: Frame) -> None:
        if self._writer.is_closing():
            return
        if frame["type"] in ("done", "result", "error"):
            self._jobs.pop(frame.get("id") or 0, None)
        try:
            self._writer.write(wire.encode(frame))
        except EngineError as error:
            self._writer.write(wire.encode(wire.error_frame(error, frame.get("id"))))
        if self._writer.transport.get_write_buffer_size() > UNREAD_LIMIT:
            log.warning("a client does not read what it asked for; hanging up on it")
            self._writer.transport.abort()

    def _send_from_thread(self, frame: Frame) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and every client with it
            self._loop.call_soon_threadsafe(self.send, frame)

    def _receive(self, frame: Frame) -> None:
        kind, number = frame["type"], frame.get("id")
        if kind == "hello":
            self._greet(frame)
        elif kind == "shutdown":
            self._host.shut_down(now=bool(frame.get("now")))
        elif not self.greeted:
            raise EngineError("The first message of a client must be its hello.")
        elif not isinstance(number, int) or (kind != "cancel" and number in self._jobs):
            raise EngineError("Every request needs a number of its own.")
        elif kind == "cancel":
            if number in self._jobs:
                self._jobs[number].cancelled.set()
        elif kind == "status":
            self.send({"type": "result", "id": number, "result": self._host.status()})
        elif kind in REQUESTS:
            self._ask(kind, number, frame)
        else:
            self.send(wire.error_frame(EngineError(f"This engine knows no request {kind!r}."), number))

    def _greet(self, frame: Frame) -> None:
        try:
            hello = Hello.model_validate(frame)
        except ValidationError:
            raise EngineError("The client's hello is malformed.") from None
        build = self._host.build
        self.send(Hello(protocol=wire.PROTOCOL, build=build, pid=os.getpid()).model_dump())
        if hello.protocol == wire.PROTOCOL and hello.build == build:
            self.greeted = True
            self._host.greeted(self, hello)

    def _ask(self, kind: str, number: int, frame: Frame) -> None:
        try:
            job = Job(kind, number, read_request(frame), self._send_from_thread)
        except EngineError as error:
            self.send(wire.error_frame(error, number))
            return
        self._jobs[number] = job
        self._host.jobs.add(job)


class Host:
    """What the process does between binding its socket and leaving."""

    def __init__(
        self, model: Path, meeting: Meeting, load: Load, keep_alive: float, memory: int | None = None
    ):
        """`memory` is what the model may take, in bytes, where a client said so."""
        self._model_path, self._meeting, self._memory = model, meeting, memory
        self._load: Load = partial(load, memory=memory)
        self._keep_alive = keep_alive
        self._clients: set[Client] = set()
        self._stopping = asyncio.Event()
        self._leave: asyncio.TimerHandle | None = None
        self._state: Frame = {"type": "loading", "share": 0.0}
        self._failed = False
        self.build = wire.build()
        self.jobs = JobQueue(meeting.log)

    async def run(self, listener: socket.socket) -> int:
        """Serve until it is time to go; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        server = await asyncio.start_unix_server(self._accept, sock=listener)
        self._leave_in(max(self._keep_alive, FIRST_CLIENT_SECONDS))
        work = asyncio.create_task(self._work())
        await self._stopping.wait()
        server.close()
        self._meeting.socket.unlink(missing_ok=True)
        await self._end_running()
        work.cancel()
        for client in self._clients:
            client.hang_up()
        await asyncio.sleep(0)
        return 1 if self._failed else 0

    def status(self) -> dict[str, Any]:
        running = self.jobs.running
        return {
            "pid": os.getpid(),
            "model": str(self._model_path),
            "memory": self._memory,
            "state": self._state["type"],
            "clients": len(self._clients),
            "waiting": self.jobs.waiting,
            "running": running.kind if running else None,
            "keep_alive": self._keep_alive,
        }

    def greeted(self, client: Client, hello: Hello) -> None:
        """A client of this version is there: its keep-alive counts from now on."""
        if hello.keep_alive is not None:
            self._keep_alive = hello.keep_alive
        client.send(self._state)
        if self._failed:
            self._leave_in(SETTLE_SECONDS)

    def shut_down(self, *, now: bool) -> None:
        """Go at once, or as soon as no client is left."""
        self._keep_alive = 0.0
        if now:
            self._stopping.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not _same_user(writer.get_extra_info("socket")):
            log.warning("refused a client of another user")
            writer.close()
            return
        client = Client(self, reader, writer)
        self._clients.add(client)
        if self._leave is not None and not self._failed:
            self._leave.cancel()
        try:
            await client.serve()
        except Exception:
            log.exception("a client was dropped")
        finally:
            self._clients.discard(client)
            if not self._clients:
                self._leave_in(SETTLE_SECONDS if self._failed else self._keep_alive)

    def _leave_in(self, seconds: float) -> None:
        if self._leave is not None:
            self._leave.cancel()
        self._leave = asyncio.get_running_loop().call_later(seconds, self._stopping.set)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self.jobs.load(
                self._load,
                self._model_path,
                usable_cores(),
                lambda share: _from_thread(loop, self._tell_all, {"type": "loading", "share": share}),
            )
        except EngineError as error:
            log.error("%s", error)
            self._failed = True
            self._tell_all(wire.error_frame(error))
            return
        self._tell_all({"type": "ready", "capabilities": self.jobs.capabilities.model_dump(mode="json")})
        await self.jobs.run()

    def _tell_all(self, state: Frame) -> None:
        self._state = state
        told = [client for client in self._clients if client.greeted]
        for client in told:
            client.send(state)
        if self._failed and told:  # else the first to come hears it
            self._leave_in(SETTLE_SECONDS)

    async def _end_running(self) -> None:
        """Cancel every request; a model that does not notice in time goes down with the process."""
        for client in self._clients:
            client.cancel_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.jobs.idle.wait()


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[Frame], None], frame: Frame) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, frame)


def _same_user(connection: socket.socket) -> bool:
    """Whether the peer runs as this user. Where the system does not tell, the private folder decides."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    layout = struct.Struct("3i")  # pid, uid, gid
    _, uid, _ = layout.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))
    return uid == os.getuid()


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the container's share where there is a limit."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup here, or "max": no limit
        return allowed


def take_lock(path: Path) -> int | None:
    """A descriptor that holds the lock until this process ends, or None where another host holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def listen(path: Path) -> socket.socket:
    """Bind the socket, mode 0600; a stale one of a host that was killed is replaced (the lock is ours)."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    return listener


def load_runtime(
    path: Path, threads: int, progress: Callable[[float], None], memory: int | None = None
) -> Model:
    """The real model; the import is here because it brings torch."""
    from engine.runtime import Runtime

    open_hosted = partial(_open_hosted, memory=memory)
    return Runtime.load(path, threads=threads, progress=progress, open_hosted=open_hosted, memory=memory)


def _open_hosted(path: Path, progress: Callable[[float], None] | None, memory: int | None = None) -> Opened:
    """The import is here because it brings transformers, which the default model does without."""
    from engine.opening import open_hosted

    return open_hosted(path, progress, memory=memory)


def main(arguments: list[str] | None = None, load: Load = load_runtime) -> None:
    """Run a host; never returns. Exits 0 at once where another host of the model is there already."""
    parser = argparse.ArgumentParser(prog="engine.host")
    parser.add_argument("model", type=Path)
    parser.add_argument("socket", type=Path)
    parser.add_argument("--keep-alive", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--memory", type=int, metavar="BYTES")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    meeting = beside(options.socket)
    if take_lock(meeting.lock) is None:
        sys.exit(0)
    _write_log(meeting.log)
    _redirect_output(meeting.stderr)
    # Read when torch loads its OpenMP: waiting threads sleep, as the tests of a repair need the cores.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["OMP_NUM_THREADS"] = str(usable_cores())
    listener = listen(meeting.socket)
    log.info("process %d serves %s", os.getpid(), options.model)
    status = 1
    try:
        host = Host(options.model, meeting, load, options.keep_alive, options.memory)
        status = asyncio.run(host.run(listener))
    except Exception:
        log.exception("the engine process failed")
    log.info("process %d leaves", os.getpid())
    logging.shutdown()
    # The model's thread may still be loading and cannot be interrupted: leave without waiting for it.
    os._exit(status)


def _write_log(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _redirect_output(path: Path) -> None:
    """From here on, what native code prints goes to a file of this process alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


if __name__ == "__main__":
    main()
