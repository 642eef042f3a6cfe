"""Calls of Linux that Python's `os` does not have, by way of the C library. Each raises OSError."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

NEW_MOUNTS, NEW_IPC, NEW_PROCESSES = 0x00020000, 0x08000000, 0x20000000
"""CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID."""
READ_ONLY, NO_SETUID, NO_DEVICES, NO_PROGRAMS, REMOUNT, BIND, RECURSIVE = 1, 2, 4, 8, 32, 4096, 16384
"""MS_*"""
SET_DEATH_SIGNAL, SET_DUMPABLE, SET_SECCOMP, DROP_FROM_BOUND, SET_SECURE_BITS = 1, 4, 22, 24, 28
SET_SUBREAPER, SET_NO_NEW_PRIVILEGES, AMBIENT = 36, 38, 47
"""PR_*"""

C = ctypes.CDLL(None, use_errno=True)
_OPEN = 437
_MOST_CAPABILITIES = 64
_IN_MEMORY = {0x01021994, 0x858458F6}
"""TMPFS_MAGIC, RAMFS_MAGIC"""
_THIRD_VERSION = 0x20080522
_NO_LINKS = 0x02 | 0x04
"""RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS"""


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    """Effective, permitted and inheritable, low and high halves."""

    _fields_ = (("sets", ctypes.c_uint32 * 6),)


class _HowToOpen(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def call(number: int, *arguments: object) -> int:
    return _checked(C.syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, second: int = 0, third: object = 0) -> int:
    return _checked(C.prctl(option, ctypes.c_ulong(second), third, 0, 0))


def unshare(kinds: int) -> None:
    _checked(C.unshare(kinds))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    words = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    _checked(C.mount(*words, ctypes.c_ulong(flags), options.encode() or None), target)


def drop_capabilities() -> None:
    """All of them, also for every program started from here on. Harmless where there are none."""
    for capability in range(_MOST_CAPABILITIES):
        try:
            prctl(DROP_FROM_BOUND, capability)
        except OSError as problem:
            if problem.errno == errno.EINVAL:  # there are no more
                break
            if problem.errno != errno.EPERM:  # without CAP_SETPCAP there is nothing that could be gained
                raise
    _checked(C.capset(ctypes.byref(_CapabilityHeader(_THIRD_VERSION, 0)), ctypes.byref(_Capabilities())))


def open_place(path: str) -> int:
    """A descriptor of what is at an absolute path, not to be read from; no symbolic link on the way."""
    how = _HowToOpen(os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return _checked(C.syscall(ctypes.c_long(_OPEN), -1, os.fsencode(path), ctypes.byref(how), size), path)


def in_memory(paths: Iterable[str]) -> list[str]:
    """Those that lie on file systems in memory, one path of each."""
    found: dict[int, str] = {}
    about = (ctypes.c_long * 32)()  # struct statfs, which begins with the kind
    for path in paths:
        if C.statfs(os.fsencode(path), about) == 0 and about[0] & 0xFFFFFFFF in _IN_MEMORY:
            found.setdefault(os.stat(path).st_dev, path)
    return list(found.values())


def _checked(result: int, about: str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), about)
    return result
