"""How much of the disk has gone since a command began: the look at it, and the words of its limit.

Standard library only and nothing of ours, so that it runs inside a sandbox as well as outside. Only the free
space counts many files, files that are deleted and still open, and space that is reserved without being
written; so what others write at the same time counts as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

FLOOR_BYTES = 256 << 20
"""Free bytes that a command leaves for others; half of what was free, where that was less."""
FLOOR_FILES = 10_000
"""The same for files, where the file system has a fixed number of them."""

Look = Callable[[str], os.statvfs_result]


class Disk:
    """The file systems that hold `paths`, as they were when a command began."""

    def __init__(self, paths: Iterable[str], look: Look = os.statvfs) -> None:
        self._look = look
        self._began = {}
        for path in paths:
            try:
                self._began.setdefault(os.stat(path).st_dev, (path, look(path)))
            except OSError:  # no such folder in this sandbox
                continue

    def exceeded(self, limit: int) -> str:
        """The limit that was exceeded by now, to follow "because"; empty where none was."""
        gone = 0
        for path, before in self._began.values():
            try:
                now = self._look(path)
            except OSError:
                continue
            gone += max(0, _free(before) - _free(now))
            least = min(FLOOR_BYTES, _free(before) // 2)
            if _free(now) < least:
                return f"the disk of {path} had less than {least >> 20} MiB left"
            if before.f_files and now.f_favail < min(FLOOR_FILES, before.f_favail // 2):
                return f"the disk of {path} had hardly room left for another file"
        return f"more than {limit >> 20} MiB of the disk were gone since it began" if gone > limit else ""


def _free(status: os.statvfs_result) -> int:
    """For users without rights: what is kept for root is no command's."""
    return status.f_bavail * status.f_frsize
