"""Confines itself for good, then becomes the command: limits and Landlock. Standard library only.

Started inside a sandbox as

    python -I -S confine.py FILE_BYTES OPEN_FILES PROCESSES COUNT WRITABLE... COMMAND...

with COUNT folders that may be written. Landlock stands behind the mounts of
the sandbox: what they would let through by a mistake, or by a file descriptor that should not be there, it
stops. Where it cannot be had, nothing is run (exit code 125).

Sources: landlock(7), linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys

REFUSED = 125
"""Exit code where the command was not started because it could not be confined."""
NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""As a shell has them."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_LOOK = _EXECUTE | _READ_FILE | _READ_DIR
_FIRST_RIGHTS = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_SIGNALS = 1 << 1
_IGNORED_BY_PYTHON = (13, 25)
"""SIGPIPE and SIGXFSZ: a program expects to be ended by them."""
LEAST_VERSION = 2
"""Before it, no file could be moved to another folder."""

_C = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def landlock_version() -> int:
    """Of the kernel's interface; 0 where Landlock is missing or switched off."""
    try:
        return max(0, _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION)))
    except (AttributeError, OSError):
        return 0


def restrict_writes(writable: list[str], version: int) -> None:
    """From here on this process and its children write below these folders only, and signal each other only.

    Raises OSError.
    """
    rights = _FIRST_RIGHTS | _REFER
    rights |= _TRUNCATE if version >= 3 else 0
    rights |= _IOCTL_DEVICE if version >= 5 else 0
    wanted = _Ruleset(rights, 0, _SIGNALS if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call(_CREATE, ctypes.byref(wanted), ctypes.c_size_t(size), ctypes.c_uint32(0))
    _allow(rules, "/", _LOOK)
    for folder in writable:
        _allow(rules, folder, rights)
    if _C.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    _call(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)


def _allow(rules: int, folder: str, rights: int) -> None:
    place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    beneath = _Beneath(rights, place)
    _call(_ADD, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), ctypes.byref(beneath), ctypes.c_uint32(0))
    os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = _C.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _limit(words: list[str]) -> None:
    kinds = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, word in zip(kinds, words, strict=True):
        hard = resource.getrlimit(kind)[1]
        ceiling = int(word) if hard == resource.RLIM_INFINITY else min(int(word), hard)
        resource.setrlimit(kind, (ceiling, ceiling))


def _environment() -> dict[bytes, bytes]:
    """As it was given: Python itself may have set LC_CTYPE since."""
    with open("/proc/self/environ", "rb") as given:
        pairs = (entry.partition(b"=") for entry in given.read().split(b"\0") if b"=" in entry)
        return {name: value for name, _, value in pairs}


def become(command: list[str], environment: dict[bytes, bytes]) -> int:
    """Replaces this process by the command; returns an exit code where that fails."""
    for (
        number
    ) in _IGNORED_BY_PYTHON:  # by way of C: the module `signal` takes as long to load as all the rest
        _C.signal(number, None)
    program = command[0]
    problem: OSError | None = None
    for place in _places(program, environment):
        try:
            os.execve(place, command, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without its first line
                os.execve("/bin/sh", ["sh", place, *command[1:]], environment)
            if problem is None or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                problem = error
    if problem is None or problem.errno in (errno.ENOENT, errno.ENOTDIR):
        print(f"exec: {program}: not found", file=sys.stderr)
        return NOT_FOUND
    print(f"exec: {program}: {problem.strerror}", file=sys.stderr)
    return NOT_EXECUTABLE


def _places(program: str, environment: dict[bytes, bytes]) -> list[str]:
    if "/" in program:
        return [program]
    folders = os.fsdecode(environment.get(b"PATH", os.fsencode(os.defpath))).split(os.pathsep)
    return [os.path.join(folder or ".", program) for folder in folders]


def main(words: list[str]) -> int:
    environment = _environment()
    count = int(words[3])
    writable, command = words[4 : 4 + count], words[4 + count :]
    try:
        version = landlock_version()
        if version < LEAST_VERSION:
            raise OSError(errno.ENOSYS, "this kernel's Landlock is missing or too old")
        restrict_writes(writable, version)
        _limit(words[:3])
    except (OSError, ValueError) as problem:
        print(f"confine: {problem}", file=sys.stderr)
        return REFUSED
    return become(command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
