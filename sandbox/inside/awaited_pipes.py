"""Lets no git wait for a named pipe: while one runs, whoever waits for a pipe of git's names finds it empty.

Run as `main` with a command, or around one with `answered`. Nothing is written into a pipe, and one that git
has no use for is not touched: somebody else may wait for it. Where another user alone could write into one,
git is ended after a while.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

OWN = (".gitignore", ".gitattributes", ".gitmodules", ".mailmap")
_PATIENCE = 0.5
"""Seconds that git has before anybody looks for pipes: mostly it has ended by then."""
_PAUSE = 0.02
_LONG = 20.0
"""Seconds that it has where there is a pipe nobody here can write into: whether it waits cannot be seen."""


@contextlib.contextmanager
def answered(root: str) -> Iterator[list[str]]:
    """For as long as git runs in the tree at `root`; the pipes for which it was ended come into the list."""
    ended, others = threading.Event(), []
    watch = threading.Thread(target=_answer, args=(root, ended, others), daemon=True)
    watch.start()
    try:
        yield others
    finally:
        ended.set()
        watch.join()


def told(pipe: str) -> str:
    return f"{pipe} is a pipe; remove it."


def _answer(root: str, ended: threading.Event, others: list[str]) -> None:
    looks, began = 1, time.monotonic()
    while not ended.wait(_PATIENCE):
        pipes = list(_pipes(root, ended))
        closed = [pipe for pipe in pipes if _is_others(pipe)]
        # Seldom again: it takes as long as the tree is large, and pipes are few.
        for _ in range(50 * looks):
            hit = [pipe for pipe in pipes if _end(pipe)]
            if ended.wait(0 if hit else _PAUSE):
                return
            if closed and time.monotonic() - began > _LONG:
                others += closed
                _end_children()
                return
        looks *= 2


def _pipes(root: str, ended: threading.Event) -> Iterator[str]:
    waiting = [(root, False)]
    while waiting and not ended.is_set():
        folder, gits = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            continue
        # Git reads HEAD, and commondir, before it looks for objects and refs: a folder without these that a
        # pointer names may hold it up as well.
        gits = gits or any(entry.name == "HEAD" for entry in found)
        for entry in found:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, gits or entry.name == ".git"))
                elif (gits or entry.name in OWN) and stat.S_ISFIFO(entry.stat(follow_symlinks=False).st_mode):
                    yield entry.path


def _is_others(pipe: str) -> bool:
    """Whether git may read it, and so wait for it, and nobody here can end that."""
    try:
        status = os.lstat(pipe)
    except OSError:
        return False
    return status.st_uid != os.geteuid() and os.access(pipe, os.R_OK) and not os.access(pipe, os.W_OK)


def _end_children() -> None:
    """That is git: this process has started nothing else."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children") as children:
            for child in children.read().split():
                os.kill(int(child), signal.SIGKILL)


def _end(pipe: str) -> bool:
    """Whether somebody waited, who reads now that there is nothing."""
    try:
        place = os.open(pipe, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        mode = os.fstat(place).st_mode
        if not stat.S_ISFIFO(mode):
            return False
        there = f"/proc/self/fd/{place}"
        closed = not mode & stat.S_IWUSR
        if closed:
            os.chmod(there, stat.S_IMODE(mode) | stat.S_IWUSR)
        try:
            # It opens only where somebody waits.
            os.close(os.open(there, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        finally:
            if closed:
                os.chmod(there, stat.S_IMODE(mode))
        return True
    except OSError:
        return False
    finally:
        os.close(place)


def main() -> None:
    with answered(os.environ["GIT_WORK_TREE"]) as others:
        try:
            code = subprocess.run(sys.argv[1:], check=False).returncode
        except FileNotFoundError:
            code = 127
    if others:
        sys.exit(told(others[0]))
    sys.exit(code)
