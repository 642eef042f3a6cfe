"""Becoming the command: its standard streams, folder and environment, and the program, found on PATH."""

from __future__ import annotations

import errno
import os
import signal
import sys

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit codes, as a shell has them."""
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""A program expects to be ended by them."""


def become(argv: list[str], environment: dict[str, str]) -> int:
    """Replaces this process by the command; returns an exit code where that fails, having said why."""
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    program = argv[0]
    problem: OSError | None = None
    for place in _places(program, environment):
        try:
            os.execve(place, argv, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without its first line
                os.execve("/bin/sh", ["sh", place, *argv[1:]], environment)
            if problem is None or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                problem = error
    if problem is None or problem.errno in (errno.ENOENT, errno.ENOTDIR):
        print(f"exec: {program}: not found", file=sys.stderr, flush=True)
        return NOT_FOUND
    print(f"exec: {program}: {problem.strerror}", file=sys.stderr, flush=True)
    return NOT_EXECUTABLE


def _places(program: str, environment: dict[str, str]) -> list[str]:
    if "/" in program:
        return [program]
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    return [os.path.join(folder or ".", program) for folder in folders]
