"""Watches what all processes of a command use together, where no control group is to be had.

A limit of the kernel on one process does not bound many, and its limit on their number exempts root. The
first process of the command's namespace is the parent of every orphan in it: the tree below it is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from sandbox.limits import Limits

INTERVAL = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


async def exceeded(first_process: Callable[[], int | None], limits: Limits) -> str:
    """Waits until a limit is exceeded, and says which. `first_process` gives the host's number of it."""
    while True:
        await asyncio.sleep(INTERVAL)
        if (first := first_process()) is None:
            continue
        tasks, memory = usage(first, limits.processes)
        if tasks > limits.processes:
            return f"it had more than {limits.processes} processes and threads"
        if memory > limits.memory_bytes:
            return f"its processes used more than {limits.memory_bytes >> 20} MiB of memory"


def usage(first: int, enough: int) -> tuple[int, int]:
    """(processes and threads, bytes of memory that is their own); counts no further than to `enough`."""
    waiting, tasks, pages = [first], 0, 0
    while waiting and tasks <= enough:
        pid = waiting.pop()
        with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
            threads = os.listdir(f"/proc/{pid}/task")
            tasks += len(threads)
            resident, shared = _read(f"/proc/{pid}/statm").split()[1:3]
            pages += max(0, int(resident) - int(shared))
            for thread in threads:
                waiting += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return tasks, pages * _PAGE


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
