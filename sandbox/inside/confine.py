"""A process confines itself, and all it will start, for good: no capabilities, limits, Landlock, the filter.

Landlock stands behind the mounts of the sandbox: what they would let through by a mistake, or by a file
descriptor that should not be there, it stops.

Sources: capabilities(7), landlock(7), linux/landlock.h, prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
from typing import Any

from .system_calls import (
    AMBIENT,
    SET_DUMPABLE,
    SET_NO_NEW_PRIVILEGES,
    SET_SECCOMP,
    SET_SECURE_BITS,
    call,
    drop_capabilities,
    prctl,
)  # fmt: skip

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_LOOK = _EXECUTE | _READ_FILE | _READ_DIR
_FIRST_RIGHTS = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_TCP = 1 << 0 | 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
LEAST_VERSION = 2
"""Before it, no file could be moved to another folder."""

_CLEAR_AMBIENT = 4
_ROOT_IS_NOBODY = 0b10_1111
"""SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP and their locks; SECBIT_KEEP_CAPS locked as it is, off."""
_FILTER = 2


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def landlock_version() -> int:
    """Of the kernel's interface; 0 where Landlock is missing or switched off."""
    try:
        return max(0, call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION)))
    except (AttributeError, OSError):
        return 0


def confine(settings: dict[str, Any], limits: dict[str, int]) -> None:
    """The whole of it, for what `settings` has of each layer. Raises OSError: then nothing may be started."""
    lose_capabilities()
    limit(limits)
    if settings["landlock"]:
        restrict(settings["readable"], settings["writable"], alone=not settings["rooms"])
    if settings["filter"]:
        install(bytes.fromhex(settings["filter"]))


def lose_capabilities() -> None:
    try:
        prctl(AMBIENT, _CLEAR_AMBIENT)
        prctl(SET_SECURE_BITS, _ROOT_IS_NOBODY)
    except OSError as problem:
        if problem.errno != errno.EPERM:  # who may not say so has no capability to lose
            raise
    drop_capabilities()
    prctl(SET_NO_NEW_PRIVILEGES, 1)
    # What it has in memory, and what is open in it, is nobody else's.
    prctl(SET_DUMPABLE, 0)


def limit(limits: dict[str, int]) -> None:
    """`file_bytes`, `open_files` and `processes`; the last is of the user, and not for root."""
    kinds = {
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        # Above the limit itself: the watch ends the command and says why; the kernel would say "cannot fork".
        resource.RLIMIT_NPROC: 10 * limits["processes"],
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in kinds.items():
        hard = resource.getrlimit(kind)[1]
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (ceiling, ceiling))


def restrict(readable: list[str], writable: list[str], *, alone: bool) -> None:
    """From here on this process and its children see and write below these places only, and signal each
    other only. What does not exist is left out.

    `alone` where there are no namespaces: then neither TCP nor the abstract sockets of others.
    Raises OSError, also where the kernel has no Landlock.
    """
    version = landlock_version()
    if version < LEAST_VERSION:
        raise OSError(errno.ENOSYS, "this kernel's Landlock is missing or too old")
    rights = _FIRST_RIGHTS | _REFER
    rights |= _TRUNCATE if version >= 3 else 0
    rights |= _IOCTL_DEVICE if version >= 5 else 0
    scoped = (_SIGNALS | (_ABSTRACT_SOCKETS if alone else 0)) if version >= 6 else 0
    wanted = _Ruleset(rights, _TCP if alone and version >= 4 else 0, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = call(_CREATE, ctypes.byref(wanted), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for place in readable:
        _allow(rules, place, _LOOK)
    for place in writable:
        _allow(rules, place, rights)
    call(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)


def install(program: bytes) -> None:
    """The filter for system calls, an array of `struct sock_filter`."""
    prctl(SET_SECCOMP, _FILTER, ctypes.byref(_Program(len(program) // 8, program)))


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= _OF_FILES
    beneath = _Beneath(rights, place)
    call(_ADD, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), ctypes.byref(beneath), ctypes.c_uint32(0))
    os.close(place)
