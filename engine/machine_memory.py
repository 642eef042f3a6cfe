"""How much memory there is, and how much of it a model may take where nobody said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from engine.errors import EngineError

RESERVE = 1 << 30
"""Bytes of free memory that are left alone, ..."""
RESERVE_SHARE = 0.15
"""... or this share of it, whichever is more, but never above a half: for the agent, the tests, the user's
own programs."""
NO_LIMIT = 1 << 62


def budget_of(memory: int | None) -> int:
    """What a model may take, in bytes, by what its user said. EngineError: more than there is."""
    if memory is None:
        return free_memory()
    if memory > (there := all_memory()):
        raise EngineError(
            f"{memory / 1e9:,.1f} GB were asked for, and this machine has {there / 1e9:,.1f} GB of memory; "
            "name less."
        )
    return memory


def less_reserve(free: int) -> int:
    """What may be taken of so many free bytes."""
    return free - max(min(RESERVE, free // 2), int(free * RESERVE_SHARE))


def free_memory() -> int:
    """Bytes that a model may take where nobody said: what is free here or in our cgroup, less a reserve."""
    return less_reserve(min(psutil.virtual_memory().available, free_in_cgroup()))


def all_memory() -> int:
    """Bytes that this machine has, or that our cgroup may use."""
    return min(psutil.virtual_memory().total, *(most for most, _ in _limits()), NO_LIMIT)


def free_in_cgroup() -> int:
    """Bytes below the memory limit of the group we are in; very many where there is none."""
    return min((most - now for most, now in _limits()), default=NO_LIMIT)


def _limits() -> Iterator[tuple[int, int]]:
    """What a group we are in may use, and what it does.

    A container sees its own group as the root, so that both places are asked.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers == "":
            root, names = Path("/sys/fs/cgroup"), ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        for folder in (root / own.lstrip("/"), root):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                most, now = (int((folder / name).read_text()) for name in names)
                yield most, now
