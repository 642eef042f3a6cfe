"""The supervisor of a sandbox: starts what the launcher asks for, one keeper each, until that is gone.

Spoken to over a socket that it is given by number. First comes a file in memory with the settings of all
commands (`rooms`, `readable`, `writable`, `landlock`, `filter`, `real`; with rooms also `shared_memory`, and
`root` and `held` as `namespaces.py` has them), then for each command a file with the request (`argv`, `env`,
`cwd`, `pins`, `limits`), its three standard streams and a channel.

Nothing inside reaches it: commands live in process namespaces of their own, and hold none of its descriptors.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from typing import Any

from .keeper import keep
from .namespaces import in_user_namespace, no_more_user_namespaces

READY = b"ready"
A_COMMAND = 5
"""Descriptors that come with one."""


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    settings = _take(control, 1)
    if settings is None:
        return
    with_settings = _load(settings[0])
    if with_settings["rooms"]:
        if not in_user_namespace():
            # What follows would be done to the machine.
            sys.exit("bubblewrap has made no user namespace")
        no_more_user_namespaces()
    # From in here, since nobody can change what is mounted any more.
    for path, *identity in with_settings["real"]:
        if not _is(path, identity):
            sys.exit(f"{path} was replaced meanwhile")
    # Keepers are nobody's to wait for: the launcher hears from each what came of it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    control.sendall(READY)
    while (given := _take(control, A_COMMAND)) is not None:
        if os.fork() == 0:
            control.close()
            try:
                keep(with_settings, _load(given[0]), given[1:4], socket.socket(fileno=given[4]))
            finally:
                os._exit(0)
        for fd in given:
            os.close(fd)


def _is(path: str, identity: list[int]) -> bool:
    """Whether what is mounted there is the one with this device and number."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return [status.st_dev, status.st_ino] == identity


def _take(control: socket.socket, count: int) -> list[int] | None:
    """The descriptors of the next message; None where there will be none."""
    message, given, _flags, _address = socket.recv_fds(control, 1, count)
    if not message or len(given) != count:
        return None
    return given


def _load(fd: int) -> dict[str, Any]:
    with os.fdopen(fd, "rb", closefd=False) as file:
        return json.load(file)
