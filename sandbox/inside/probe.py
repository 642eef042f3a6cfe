"""Tries to break out of the sandbox it is started in, and prints the name of each attempt that worked.

Started as `python -I -S probe.py CANARY HOME WORKSPACE`. Standard library only. Not a test of the sandbox,
but of the machine: whether its kernel and its bubblewrap do what they promise, before anything relies on it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable

NEW_USER_NAMESPACE = 0x10000000
IO_URING_SETUP = 425
VSOCK = 40
REMOUNT_WRITABLE = 0x1000 | 0x20
"""MS_BIND and MS_REMOUNT, without MS_RDONLY."""


def outside(canary: str) -> bool:
    """The canary may be hidden as well; that everything else is read-only, the mount itself says."""
    return _opens(canary, os.O_WRONLY) or not os.statvfs("/").f_flag & os.ST_RDONLY


def kernel_parameters() -> bool:
    return _opens("/proc/sys/kernel/core_pattern", os.O_WRONLY)


def first_environment() -> bool:
    try:
        with open("/proc/1/environ", "rb") as environment:
            return bool(environment.read(1))
    except PermissionError:
        return False


def network() -> bool:
    with open("/proc/net/dev") as devices:
        return sum(":" in line for line in devices) > 1


def capabilities() -> bool:
    with open("/proc/self/status") as status:
        held = [int(line.split()[1], 16) for line in status if line.startswith(("CapEff:", "CapPrm:"))]
    return any(held)


def remount(c: ctypes.CDLL) -> bool:
    return c.mount(None, b"/", None, ctypes.c_ulong(REMOUNT_WRITABLE), None) == 0


def namespaces(c: ctypes.CDLL) -> bool:
    if os.fork() == 0:
        os._exit(0 if c.unshare(NEW_USER_NAMESPACE) == 0 else 1)
    return os.wait()[1] == 0


def system_calls(c: ctypes.CDLL) -> bool:
    """io_uring goes past every filter on other calls; vsock past every network namespace."""
    if c.syscall(IO_URING_SETUP, 0, None) < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        try:
            socket.socket(VSOCK, socket.SOCK_STREAM).close()
        except OSError as problem:
            return problem.errno != errno.EAFNOSUPPORT
    return True


def beyond_mounts() -> bool:
    """Mounts let a process write to its own entries in /proc; only Landlock forbids it."""
    return _opens("/proc/self/comm", os.O_WRONLY)


def no_home(home: str) -> bool:
    return not os.access(home, os.W_OK)


def no_workspace(workspace: str) -> bool:
    return not os.access(workspace, os.W_OK)


def _opens(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags))
    except OSError:
        return False
    return True


def main(canary: str, home: str, workspace: str) -> None:
    c = ctypes.CDLL(None, use_errno=True)
    attempts: dict[str, Callable[[], bool]] = {
        "outside": lambda: outside(canary),
        "kernel parameters": kernel_parameters,
        "first environment": first_environment,
        "network": network,
        "capabilities": capabilities,
        "remount": lambda: remount(c),
        "namespaces": lambda: namespaces(c),
        "system calls": lambda: system_calls(c),
        "beyond mounts": beyond_mounts,
        "no home": lambda: no_home(home),
        "no workspace": lambda: no_workspace(workspace),
    }
    for name, worked in attempts.items():
        if worked():
            print(name)
            if name == "outside":
                return  # there is no sandbox at all: what follows would be done to the machine


if __name__ == "__main__":
    main(*sys.argv[1:])
