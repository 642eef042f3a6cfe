"""Keeps one command: starts it in namespaces of its own, watches it, ends it when told to, says how it ended.

Two processes. The keeper stays outside of the command's process namespace, where nothing in it can be seen or
reached; the first process inside makes the mounts, confines itself and starts the command. They speak through
one channel with the launcher: its end is the order to kill, also where the launcher has died.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
from typing import Any, NoReturn

from . import ports, usage
from .confine import confine
from .disk import Disk
from .execute import become
from .memory import Memory
from .namespaces import furnish, leave_others
from .system_calls import SET_DEATH_SIGNAL, SET_SUBREAPER, in_memory, prctl

KILLED = 128 + signal.SIGKILL
PATIENCE = 20
"""Looks at a command after which it is ended without its first process."""


def keep(
    settings: dict[str, Any], request: dict[str, Any], streams: list[int], channel: socket.socket
) -> None:
    """Runs the requested command to its end, and tells the channel. `streams` are its standard ones."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if settings["rooms"]:
        # Bubblewrap's own first process waits for whatever is left of the supervisor.
        prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    else:
        # It alone can end a command that has stopped its first process; until then it is not to go.
        os.setpgid(0, 0)
    failures, told = os.pipe()
    watch = _Watch(settings, request["limits"])
    try:
        if settings["rooms"]:
            leave_others()
        else:
            prctl(SET_SUBREAPER, 1)
        first = os.fork()
    except OSError as problem:
        _tell(channel, failed=f"{problem.strerror or problem}")
        return
    if first == 0:
        os.close(failures)
        channel.close()
        try:
            _first(settings, request, streams, told)
        finally:
            os._exit(KILLED)
    for stream in (told, *streams):
        os.close(stream)

    exceeded = _watched(first, watch, channel)
    status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    if not settings["rooms"]:
        _end_orphans()
    if failure := _read(failures):
        _tell(channel, **failure)
        return
    _tell(channel, exit_code=KILLED if status < 0 else status, exceeded=exceeded)


class _Watch:
    """What the processes of the command use, seen from its keeper."""

    def __init__(self, settings: dict[str, Any], limits: dict[str, Any]) -> None:
        self._rooms = settings["rooms"]
        self._limits = limits
        self._disk = Disk(settings["writable"])
        self._memory = Memory(in_memory(settings["writable"]))
        self._asked = 0

    def processes(self) -> list[int]:
        return usage.in_namespace() if self._rooms else usage.below(os.getpid())

    def exceeded(self) -> str:
        disk_bytes = self._limits["disk_bytes"]
        if disk_bytes is None:  # one of Ostro's own: others' use is not held against it
            return usage.exceeded(self._limits, self.processes(), 0)
        over = usage.exceeded(self._limits, self.processes(), self._memory.unowned())
        return over or self._memory.exceeded() or self._disk.exceeded(disk_bytes)

    def end(self, first: int) -> None:
        """To be called until it has ended.

        A namespace ends with its first process; without one, that has to end the others. A command can have
        stopped it, and do so again and again: then it goes first, and the others are looked for.
        """
        self._asked += 1
        asking = not self._rooms and self._asked <= PATIENCE
        for order in (signal.SIGTERM, signal.SIGCONT) if asking else (signal.SIGKILL,):
            os.kill(first, order)


def _watched(first: int, watch: _Watch, channel: socket.socket) -> str:
    """Waits until the command has ended, by itself or by us; the limit that it was ended for."""
    ended = os.pidfd_open(first)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(channel, select.POLLIN)
    exceeded, over = "", False
    while True:
        ready = dict(poll.poll(1000 * usage.INTERVAL))
        if ended in ready:
            return exceeded
        if channel.fileno() in ready:
            if channel.recv(16) == ports.QUESTION:
                _tell(channel, ports=ports.listening(watch.processes()))
                continue
            poll.unregister(channel)
            over = True
        elif not over and (exceeded := watch.exceeded()):
            over = True
        if over:
            watch.end(first)


def _end_orphans() -> None:
    """What is left where a command killed the first process, which would have ended all of it at once."""
    while left := usage.below(os.getpid()):
        for order in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, order)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _first(settings: dict[str, Any], request: dict[str, Any], streams: list[int], told: int) -> NoReturn:
    """The first process of the namespace: everything else in it ends with it."""
    try:
        rooms = settings["rooms"]
        # A command can send it this one: Python's own handler would let it end as if by itself.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # The order to end: not before there is somebody to end all of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        # Without its keeper nobody would watch it.
        prctl(SET_DEATH_SIGNAL, signal.SIGKILL if rooms else signal.SIGTERM)
        os.setsid()
        if not rooms:
            # Orphans fall to it, so that it can wait for them.
            prctl(SET_SUBREAPER, 1)
        else:
            furnish(request["pins"], settings)
        confine(settings, request["limits"])
        if not rooms:
            _require_scope()
        command = os.fork()
        if command == 0:
            _command(request, streams, told)
    except BaseException as problem:
        _fail(told, failed=getattr(problem, "strerror", None) or str(problem))
    for fd in (told, *streams):
        os.close(fd)
    if not rooms:
        signal.signal(signal.SIGTERM, lambda *_: _end(KILLED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    while True:
        child, status = os.wait()
        if child == command:
            break
    code = os.waitstatus_to_exitcode(status)
    code = code if code >= 0 else 128 - code
    if rooms:
        os._exit(code)
    _end(code)


def _require_scope() -> None:
    """Makes sure that this process cannot signal its keeper, and so nobody else outside of its domain."""
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return
    raise OSError(errno.EPERM, "signals are not confined")


def _end(code: int) -> NoReturn:
    """Kills all of the domain but itself, in one call that no fork is quicker than, until nothing is left."""
    while True:
        with contextlib.suppress(OSError):
            os.kill(-1, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            os._exit(code)


def _command(request: dict[str, Any], streams: list[int], told: int) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        os.setsid()
        os.chdir(request["cwd"])
    except OSError:
        _fail(told, no_folder=request["cwd"])
    try:
        # The streams may have low numbers themselves.
        high = [os.dup(stream) for stream in streams]
        while min(high) <= 2:
            high = [os.dup(stream) for stream in high]
        for number, stream in enumerate(high):
            os.dup2(stream, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os._exit(become(request["argv"], request["env"]))
    finally:
        os._exit(KILLED)


def _fail(told: int, **words: str) -> NoReturn:
    try:
        os.write(told, json.dumps(words).encode())
    finally:
        os._exit(1)


def _read(failures: int) -> dict[str, str]:
    with os.fdopen(failures, "rb") as file:
        words = file.read()
    return json.loads(words) if words else {}


def _tell(channel: socket.socket, **words: object) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        channel.sendall(json.dumps(words).encode() + b"\n")
