"""Memory that belongs to no process: files that have no name, shared mappings, what sockets and pipes hold,
what the kernel keeps about files.

Standard library only and nothing of ours, as `disk.py`. Only the kernel's totals show it, so that what others
take at the same time counts as well.

Sources: proc_meminfo(5), mm/page_alloc.c for the lists of free pages that each processor has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

FLOOR_BYTES = 256 << 20
"""Available bytes that a command leaves for others; half of what was available, where that was less."""
IN_LISTS = "InLists"
"""Bytes of free pages that processors have set aside; not in `MemFree`, and many come and go at any time."""
KNOWN = ("MemFree", IN_LISTS, "Buffers", "Cached", "SwapCached", "AnonPages", "KReclaimable")
"""Free, a file's that is on a disk as well (less `Shmem`), or a process's own."""

Look = Callable[[], dict[str, int]]


def totals() -> dict[str, int]:
    """The machine's, by the kernel's names, in bytes."""
    with open("/proc/meminfo") as file:
        lines = [line.split() for line in file]
    found = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if len(words) == 3}
    try:
        with open("/proc/zoneinfo") as file:
            words = [line.split() for line in file if "count:" in line]
    except OSError:
        return found
    pages = sum(int(count) for name, count in words if name == "count:")
    return {**found, IN_LISTS: pages * os.sysconf("SC_PAGE_SIZE")}


class Memory:
    """The machine's memory as it was when a command began."""

    def __init__(self, folders: Iterable[str] = (), look: Look = totals) -> None:
        """`folders` are those in memory whose content is looked at as a disk's."""
        self._look = look
        self._folders = list(folders)
        began = look()
        self._began = self._unowned(began)
        available = began.get("MemAvailable", 0)
        self._least = min(FLOOR_BYTES, available // 2)

    def unowned(self) -> int:
        """Bytes of no process's own that have come since; `/dev/shm` is in it, the `folders` are not."""
        return max(0, self._unowned(self._look()) - self._began)

    def exceeded(self) -> str:
        """The limit that was exceeded by now, to follow "because"; empty where none was."""
        if self._look().get("MemAvailable", self._least) < self._least:
            return f"the machine had less than {self._least >> 20} MiB of memory left"
        return ""

    def _unowned(self, now: dict[str, int]) -> int:
        shared = now.get("Shmem", 0)
        if all(name in now for name in KNOWN):
            # Whatever has no name there: buffers of sockets and pipes have none.
            found = now.get("MemTotal", 0) + shared - sum(now[name] for name in KNOWN)
        else:
            found = shared + now.get("SUnreclaim", 0)
        return found - sum(map(_content, self._folders))


def _content(folder: str) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return (status.f_blocks - status.f_bfree) * status.f_frsize
