"""Memory that belongs to no process: files that have no name, shared mappings, what sockets and pipes hold.

Standard library only and nothing of ours, as `disk.py`. Only the kernel's totals show it, so that what others
take at the same time counts as well.

Source: proc_meminfo(5).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

FLOOR_BYTES = 256 << 20
"""Available bytes that a command leaves for others; half of what was available, where that was less."""

Look = Callable[[], dict[str, int]]


def totals() -> dict[str, int]:
    """The machine's, by the kernel's names, in bytes."""
    with open("/proc/meminfo") as file:
        lines = [line.split() for line in file]
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if len(words) == 3}


class Memory:
    """The machine's memory as it was when a command began."""

    def __init__(self, folders: Iterable[str] = (), look: Look = totals) -> None:
        """`folders` are those in memory whose content is looked at as a disk's."""
        self._look = look
        self._folders = list(folders)
        began = look()
        self._began = self._shared(began)
        available = began.get("MemAvailable", 0)
        self._least = min(FLOOR_BYTES, available // 2)

    def shared(self) -> int:
        """Bytes of shared memory that have come since; `/dev/shm` is in it, the `folders` are not."""
        return max(0, self._shared(self._look()) - self._began)

    def exceeded(self) -> str:
        """The limit that was exceeded by now, to follow "because"; empty where none was."""
        if self._look().get("MemAvailable", self._least) < self._least:
            return f"the machine had less than {self._least >> 20} MiB of memory left"
        return ""

    def _shared(self, now: dict[str, int]) -> int:
        return now.get("Shmem", 0) - sum(map(_content, self._folders))


def _content(folder: str) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return (status.f_blocks - status.f_bfree) * status.f_frsize
