"""Keeps one command: starts it in namespaces of its own, watches it, ends it when told to, says how it ended.

Two processes. The keeper stays outside of the command's process namespace, where nothing in it can be seen or
reached; the first process inside makes the mounts, confines itself and starts the command. They speak through
one channel with the launcher: its end is the order to kill, also where the launcher has died.
"""

from __future__ import annotations

import contextlib
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
from .namespaces import furnish, leave_others
from .system_calls import SET_DEATH_SIGNAL, prctl

KILLED = 128 + signal.SIGKILL


def keep(
    settings: dict[str, Any], request: dict[str, Any], streams: list[int], channel: socket.socket
) -> None:
    """Runs the requested command to its end, and tells the channel. `streams` are its standard ones."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    failures, told = os.pipe()
    disk = Disk(settings["writable"])
    try:
        leave_others()
        first = os.fork()
    except OSError as problem:
        _tell(channel, failed=f"{problem.strerror or problem}")
        return
    if first == 0:
        os.close(failures)
        channel.close()
        _first(settings, request, streams, told)
    for stream in (told, *streams):
        os.close(stream)

    exceeded = _watched(first, request["limits"], disk, channel)
    status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    if failure := _read(failures):
        _tell(channel, **failure)
        return
    _tell(channel, exit_code=KILLED if status < 0 else status, exceeded=exceeded)


def _watched(first: int, limits: dict[str, int], disk: Disk, channel: socket.socket) -> str:
    """Waits until the command has ended, by itself or by us; the limit that it was ended for."""
    ended = os.pidfd_open(first)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(channel, select.POLLIN)
    exceeded = ""
    while True:
        ready = dict(poll.poll(1000 * usage.INTERVAL))
        if ended in ready:
            return exceeded
        if channel.fileno() in ready:
            if channel.recv(16) == ports.QUESTION:
                _tell(channel, ports=ports.listening())
                continue
            poll.unregister(channel)
            os.kill(first, signal.SIGKILL)
        elif not exceeded and (exceeded := usage.exceeded(limits) or disk.exceeded(limits["disk_bytes"])):
            os.kill(first, signal.SIGKILL)


def _first(settings: dict[str, Any], request: dict[str, Any], streams: list[int], told: int) -> NoReturn:
    """The first process of the namespace: everything else in it ends with it."""
    try:
        # Without its keeper nobody would watch it.
        prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        os.setsid()
        furnish(request["pins"], settings["shared_memory"])
        confine(settings, request["limits"])
        command = os.fork()
        if command == 0:
            _command(request, streams, told)
    except BaseException as problem:
        _fail(told, failed=getattr(problem, "strerror", None) or str(problem))
    for fd in (told, *streams):
        os.close(fd)
    while True:
        child, status = os.wait()
        if child == command:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _command(request: dict[str, Any], streams: list[int], told: int) -> NoReturn:
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
