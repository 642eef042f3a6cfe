"""Standard output that cannot be written: its reader went away, or what it leads to is full."""

from __future__ import annotations

import os
import sys

from agent.ending import EnvironmentProblem


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
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def settle() -> None:
    """Leaves nothing behind that the interpreter's end would stumble over."""
    try:
        flush()
    except (BrokenPipeError, EnvironmentProblem):
        let_go()
