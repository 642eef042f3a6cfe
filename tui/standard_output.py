"""Standard output and standard error: what may be said there, and what happens where it cannot be written."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from agent.ending import EnvironmentProblem
from tools.plain_text import plain


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line; what is no text, or drives a terminal (in a path, a name, an error), is left out."""
    stream = stream or sys.stdout
    encoding = (stream and stream.encoding) or "utf-8"
    print(plain(text).encode(encoding, "replace").decode(encoding), file=stream)


def complain(text: str) -> None:
    """Prints a line on standard error. Where that cannot be written, no exit code changes by it."""
    if sys.stderr is None:
        return
    try:
        # A name in it may hold a line feed, and what follows would look like a line of Ostro's.
        say(plain(text).replace("\n", " "), sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError):
        _to_nowhere(sys.stderr)


def unwritable(error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(f"Standard output cannot be written ({error.strerror}).")


def flush() -> None:
    """To be called before the interpreter ends: its own flush could only fail with a traceback.

    Raises EnvironmentProblem, and BrokenPipeError where the reader went away.
    """
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def let_go() -> None:
    """What is still buffered, or written from now on, goes nowhere."""
    _to_nowhere(sys.stdout)


def _to_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def settle() -> None:
    """Leaves nothing behind that the interpreter's end would stumble over."""
    try:
        flush()
    except (BrokenPipeError, EnvironmentProblem):
        let_go()
