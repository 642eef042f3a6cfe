"""What all processes of a command use together, where no control group is to be had.

A limit of the kernel on one process does not bound many, and its limit on their number exempts root.
"""

from __future__ import annotations

import os

INTERVAL = 0.1
"""Seconds between two looks."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST = "1"
"""Ours; it belongs to nobody."""


def exceeded(limits: dict[str, int], processes: list[int], unowned: int) -> str:
    """The limit that these processes are over, to follow "stopped, because"; "" where none is.

    `unowned` is memory that belongs to none of them, in bytes.
    """
    tasks, memory = usage(processes, enough=limits["processes"])
    memory += unowned
    if tasks > limits["processes"]:
        return f"it had more than {limits['processes']} processes and threads"
    if memory > limits["memory_bytes"]:
        return f"its processes used more than {limits['memory_bytes'] >> 20} MiB of memory"
    return ""


def in_namespace() -> list[int]:
    """The processes of the command, where /proc shows no others."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != _FIRST]


def below(process: int) -> list[int]:
    """All descendants of a process: complete where it is the one that orphans fall to."""
    found, waiting = [], [process]
    while waiting:
        try:
            for thread in os.listdir(f"/proc/{(pid := waiting.pop())}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    children = [int(word) for word in file.read().split()]
                found += children
                waiting += children
        except OSError:  # it has ended meanwhile
            continue
    return found


def usage(processes: list[int], enough: int) -> tuple[int, int]:
    """(processes and threads, bytes of memory that is their own); counts no further than to `enough`."""
    tasks = pages = 0
    for process in processes:
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
