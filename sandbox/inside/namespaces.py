"""The rooms of one command: its own processes, mounts and interprocess memory, inside the sandbox's own.

The kernel ends every process of a process namespace with its first one: that nothing outlives a command rests
on nothing else. The loopback, /tmp and the home folder are the sandbox's, shared by all its commands.
"""

from __future__ import annotations

import os
from typing import Any

from .system_calls import (
    BIND,
    NEW_IPC,
    NEW_MOUNTS,
    NEW_PROCESSES,
    NO_DEVICES,
    NO_PROGRAMS,
    NO_SETUID,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    mount,
    open_place,
    unshare,
)  # fmt: skip

KERNEL = ("sys", "sysrq-trigger", "irq", "bus", "fs")
"""What root could still change in /proc without any capability."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""The machine's own files, laid in /dev by bubblewrap: root could take them from everybody (`chmod 0`). On a
read-only mount what is behind them is written all the same."""
SHARED_MEMORY = "/dev/shm"
USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"


def in_user_namespace() -> bool:
    """Whether this process is in one that bubblewrap made: with no user in it but its own."""
    with open("/proc/self/uid_map") as users:
        return [line.split()[2] for line in users] == ["1"]


def no_more_user_namespaces() -> None:
    """Whoever can make one has every capability in it, and with those the kernel's least tested code.

    Needs CAP_SYS_RESOURCE. Raises OSError.
    """
    with open(USER_NAMESPACES, "w") as limit:
        limit.write("0")


def leave_others() -> None:
    """The next child of this process is the first of a process namespace of its own."""
    unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)


def furnish(pins: list[list], settings: dict[str, Any]) -> None:
    """Makes the mounts of the command, from its first process. Raises OSError.

    `pins` are [path, writable]; one that does not exist is left out. They are made anew for every command,
    since a program outside that replaces a file (git does, with its configuration) takes off what is mounted
    on it in here. Of the `settings`, `shared_memory` is a size in bytes, `root` the workspace, and `held` an
    empty folder.
    """
    mount("proc", "/proc", "proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)
    for name in KERNEL:
        _bind(f"/proc/{name}")
    for name in DEVICES:
        _bind(f"/dev/{name}")
    if os.path.isdir(SHARED_MEMORY):
        size = settings["shared_memory"]
        mount("tmpfs", SHARED_MEMORY, "tmpfs", NO_SETUID | NO_DEVICES, f"mode=1777,size={size}")
    _hold([path for path, writable in pins if writable], settings["root"], settings["held"])
    for path, writable in pins:
        if not writable:
            _bind(path)


def _hold(places: list[str], root: str, second: str) -> None:
    """No process here can rename these folders, or remove them.

    What something is mounted on stays where it is, by whatever way it is reached. So it is enough to mount on
    it in a second, read-only view of the workspace: in the first one a file can be moved in and out, as it
    could not across a mount.
    """
    inside = [place for place in places if place.startswith(f"{root}/")]
    if inside:
        _bind(root, second)
    for place in inside:
        _bind(second + place.removeprefix(root))
    for place in places:
        if place not in inside:
            _bind(place, read_only=False)


def _bind(path: str, onto: str | None = None, *, read_only: bool = True) -> None:
    """Binds what is at a path onto itself, or onto another; does nothing where nothing is there."""
    try:
        below = open_place(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    there = open_place(onto) if onto else below
    mount(f"/proc/self/fd/{below}", f"/proc/self/fd/{there}", flags=BIND | RECURSIVE)
    if read_only:
        above = open_place(onto or path)
        if not os.path.samestat(os.fstat(below), os.fstat(above)):
            raise OSError(16, "it was replaced meanwhile", path)
        # Flags that were there before may be locked: leaving one out would be refused.
        kept = os.fstatvfs(above).f_flag & (NO_SETUID | NO_DEVICES | NO_PROGRAMS)
        mount("", f"/proc/self/fd/{above}", flags=BIND | REMOUNT | READ_ONLY | kept)
        os.close(above)
    os.close(below)
    if onto:
        os.close(there)
