"""How much memory there is, and how much of it a model may take where nobody said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from engine.errors import EngineError

RESERVE = 1 << 30
"""Bytes of free memory that are left alone, ..."""
RESERVE_SHARE = 0.15
"""... or this share of it, whichever is more, but never above a half: for the agent, the tests, the user's
own programs."""
NO_LIMIT = 1 << 62
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux shows the groups, and which of them are ours."""


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
    """Bytes that a model may take where nobody said: what is available, less a reserve."""
    return less_reserve(available_memory())


def available_memory() -> int:
    """Bytes that are free on this machine, or in our cgroup where those are fewer."""
    return min(psutil.virtual_memory().available, free_in_cgroup())


def all_memory() -> int:
    """Bytes that this machine has, or that our cgroup may use."""
    return min(psutil.virtual_memory().total, *(most for most, _ in _limits(GROUPS, OWN_GROUPS)), NO_LIMIT)


def free_in_cgroup(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> int:
    """Bytes below the nearest memory limit of the groups we are in; very many where there is none."""
    return min((most - now for most, now in _limits(groups, own)), default=NO_LIMIT)


@dataclass(frozen=True)
class _Version:
    """Where one version of cgroups says what."""

    limit: str
    usage: str
    reclaimable: str
    """In memory.stat: pages of files that the kernel drops before it lets anybody run short. They count as
    used, and after a large file was written or read they are nearly all that is."""


_FIRST = _Version("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_SECOND = _Version("memory.max", "memory.current", "inactive_file")


def _limits(groups: Path, own_groups: Path) -> Iterator[tuple[int, int]]:
    """What each group around us may use, and what it does use and cannot be asked to give back.

    A limit of any group above ours (a slice, a job) holds for us as well. A container sees its own group as
    the root, and may be told a path that does not exist there: the walk up comes to the root either way.
    """
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, named = line.split(":", 2)
        if controllers == "":
            root, version = groups, _SECOND
        elif "memory" in controllers.split(","):
            root, version = groups / "memory", _FIRST
        else:
            continue
        # Whoever was moved out of their namespace is told a path with ".." in it: the root is all they see.
        path = PurePosixPath(named)
        own = PurePosixPath() if ".." in path.parts else path.relative_to("/")
        for folder in (root / own, *(root / above for above in own.parents)):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                most = int((folder / version.limit).read_text())
                yield most, int((folder / version.usage).read_text()) - _reclaimable(folder, version)


def _reclaimable(folder: Path, version: _Version) -> int:
    """Bytes; none where the group does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == version.reclaimable:
                return int(value)
    return 0
