"""A memory cgroup for one process (version 1, as root), in which file pages count as well."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/memory")
LEAVING_SECONDS = 5.0


@dataclass(frozen=True)
class Seen:
    """Bytes, as the kernel counted them."""

    peak: int
    anonymous: int
    refused: int
    """Times that a charge met the limit."""


@dataclass(frozen=True)
class Group:
    path: Path

    def enter(self) -> None:
        """Called in the process that is to be in it, before it begins."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def seen(self) -> Seen:
        stat = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        return Seen(self._number("max_usage_in_bytes"), int(stat["rss"]), self._number("failcnt"))

    def _number(self, name: str) -> int:
        return int((self.path / f"memory.{name}").read_text())


def missing() -> str | None:
    """Why there can be no such group here, in a sentence; None where there can."""
    if os.geteuid() or not (GROUPS / "memory.limit_in_bytes").exists():
        return "This needs root and memory cgroups of version 1."
    return None


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Group]:
    """Gone afterwards, once its processes have ended."""
    group = Group(GROUPS / f"ostro-bench-{os.getpid()}")
    group.path.mkdir()
    try:
        (group.path / "memory.limit_in_bytes").write_text(str(limit))
        yield group
    finally:
        until = time.monotonic() + LEAVING_SECONDS
        while group.path.exists() and time.monotonic() < until:
            with contextlib.suppress(OSError):
                group.path.rmdir()
            time.sleep(0.05)


def drop_pages(folder: Path) -> None:
    """The pages of these files out of the page cache: whoever reads them next is charged for them."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
