"""Unix sockets of the host: no network namespace hides those that have a path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

LISTED = Path("/proc/net/unix")
_FIELDS = 7
"""Before the path, which may hold spaces."""


def bound_sockets(listed: Path = LISTED) -> list[Path]:
    """Paths that somebody's socket is bound to now."""
    try:
        lines = listed.read_text("utf-8", "surrogateescape").splitlines()[1:]
    except OSError:
        return []
    paths = (fields[_FIELDS] for line in lines if len(fields := line.split(" ", _FIELDS)) > _FIELDS)
    absolute = {os.path.realpath(path.strip()) for path in paths if path.strip().startswith("/")}
    return sorted(Path(path) for path in absolute if _is_socket(path))


def visible(sockets: Iterable[Path], hidden: Iterable[Path], readable: Iterable[Path]) -> list[Path]:
    """Those that neither lie in a hidden folder, nor below what shines through one."""
    covers, windows = list(hidden), list(readable)
    return [
        path
        for path in sockets
        if not any(path.is_relative_to(folder) for folder in covers)
        or any(path.is_relative_to(folder) for folder in windows)
    ]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
