"""On which ports of the loopback the programs of a command listen."""

from __future__ import annotations

import contextlib
import os

QUESTION = b"ports\n"
_TABLES = ("tcp", "tcp6")
_LISTENING = "0A"


def listening(processes: list[int]) -> list[int]:
    """TCP ports of these processes, sorted."""
    found: dict[str, int] = {}
    opened: set[str] = set()
    for process in processes:
        try:
            opened |= _open_sockets(process)
            found = found or _listeners(process)
        except OSError:  # it has ended, or it is ours
            continue
    return sorted({port for socket, port in found.items() if socket in opened})


def _listeners(process: int) -> dict[str, int]:
    """Port by the socket's number, of the whole network namespace.

    Asked of the process, since whoever looks from another process namespace has no /proc/self there.
    """
    found: dict[str, int] = {}
    for table in _TABLES:
        try:
            with open(f"/proc/{process}/net/{table}") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:  # a kernel without that family
            continue
        found |= {row[9]: int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING}
    return found


def _open_sockets(process: int) -> set[str]:
    links = []
    for name in os.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(f"/proc/{process}/fd/{name}"))
    return {link[8:-1] for link in links if link.startswith("socket:[")}
