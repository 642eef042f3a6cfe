"""The door of the command `ostro`.

The repository at hand may hold its own `tools/` or `agent.py`. So before any room is imported, the working
directory and what PYTHONPATH names leave `sys.path`. The environment itself stays as it is: PYTHONPATH is
the user's, for the user's commands; Pythons that Ostro starts for itself run with `-I`.
"""

# No `from __future__ import annotations` here: that would import a module before the path is clean.
# os, sys and site are part of the interpreter, and loaded before any script.
import os
import site
import sys


def _real(entry: str) -> str:
    """The folder an entry of `sys.path` stands for; an empty or relative one is the working directory's."""
    try:
        return os.path.realpath(entry or os.curdir)
    except FileNotFoundError:  # the working directory was deleted under us
        return ""


def clean_path() -> None:
    """Take the working directory and PYTHONPATH out of `sys.path`.

    Where Ostro itself lies, the standard library and installed packages stay, whoever names them.
    """
    own = {
        _real(place)
        for place in (os.path.dirname(__file__), os.path.dirname(os.__file__), *site.getsitepackages())
    }
    foreign = {"", _real(os.curdir)}
    if not sys.flags.ignore_environment:
        foreign.update(_real(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [entry for entry in sys.path if _real(entry) not in foreign - own]


def _terminated(number: int, _frame: object) -> None:
    os._exit(128 + number)  # nothing has begun that would have to be put in order


def main() -> int:
    """Run the command line; returns the exit code."""
    clean_path()
    import signal

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        from tui.command_line import main as command_line

        code = command_line()
    except KeyboardInterrupt:  # before there was anything to interrupt
        code = 130
    # How it ended has been said: no signal changes that while the interpreter is taken down.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))
    return code


if __name__ == "__main__":
    sys.exit(main())
