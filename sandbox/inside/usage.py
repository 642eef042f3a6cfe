"""What all processes of a command use together, where no control group is to be had.

A limit of the kernel on one process does not bound many, and its limit on their number exempts root.
"""

from __future__ import annotations

import os

from .namespaces import SHARED_MEMORY

INTERVAL = 0.1
"""Seconds between two looks."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST = "1"
"""Ours; it belongs to nobody."""


def exceeded(limits: dict[str, int]) -> str:
    """The limit that the processes in /proc are over, to follow "stopped, because"; "" where none is."""
    tasks, memory = usage(enough=limits["processes"])
    memory += shared_memory()
    if tasks > limits["processes"]:
        return f"it had more than {limits['processes']} processes and threads"
    if memory > limits["memory_bytes"]:
        return f"its processes used more than {limits['memory_bytes'] >> 20} MiB of memory"
    return ""


def shared_memory() -> int:
    """Bytes in the command's own /dev/shm, which belong to no process."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 0
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def usage(enough: int) -> tuple[int, int]:
    """(processes and threads, bytes of memory that is their own); counts no further than to `enough`."""
    tasks = pages = 0
    for process in os.listdir("/proc"):
        if not process.isdigit() or process == _FIRST:
            continue
        try:
            tasks += len(os.listdir(f"/proc/{process}/task"))
            with open(f"/proc/{process}/statm") as file:
                resident, shared = file.read().split()[1:3]
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        pages += max(0, int(resident) - int(shared))
        if tasks > enough:
            break
    return tasks, pages * _PAGE
