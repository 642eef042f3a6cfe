"""A memory cgroup for one process (version 1, as root), in which file pages count as well."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/memory")
LEAVING_SECONDS, LOOK_SECONDS = 5.0, 0.05


@dataclass(frozen=True)
class Seen:
    """Bytes, as the kernel counted them."""

    peak: int
    """Charged at most, with the pages of files."""
    anonymous: int
    """Charged at most without those, which can be dropped; looked at every so often."""


class Group:
    def __init__(self, path: Path):
        self._path = path
        self._anonymous = 0

    def limit(self, limit: int) -> None:
        """In bytes."""
        (self._path / "memory.limit_in_bytes").write_text(str(limit))

    @property
    def used(self) -> int:
        """Bytes, with the pages of files."""
        return int((self._path / "memory.usage_in_bytes").read_text())

    def enter(self) -> None:
        """Called in the process that is to be in it, before it begins."""
        (self._path / "cgroup.procs").write_text(str(os.getpid()))

    def look(self) -> None:
        with contextlib.suppress(OSError):  # it was removed
            stat = (self._path / "memory.stat").read_text().split()
            self._anonymous = max(self._anonymous, int(stat[stat.index("rss") + 1]))

    def seen(self) -> Seen:
        self.look()
        return Seen(int((self._path / "memory.max_usage_in_bytes").read_text()), self._anonymous)


def missing() -> str | None:
    """Why there can be no such group here, in a sentence; None where there can."""
    if os.geteuid() or not (GROUPS / "memory.limit_in_bytes").exists():
        return "This needs root and memory cgroups of version 1."
    return None


@contextlib.contextmanager
def memory_group() -> Iterator[Group]:
    """Without a limit at first; gone afterwards, once its processes have ended."""
    path = GROUPS / f"ostro-bench-{os.getpid()}"
    path.mkdir()
    group, over = Group(path), threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            group.look()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield group
    finally:
        over.set()
        watching.join()
        until = time.monotonic() + LEAVING_SECONDS
        while path.exists() and time.monotonic() < until:
            with contextlib.suppress(OSError):
                path.rmdir()
            time.sleep(0.05)


def drop_pages(folder: Path) -> None:
    """The pages of these files out of the page cache: whoever reads them next is charged for them."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
