"""Landlock and the filter without rooms: what is left where no namespaces can be had (tier C).

Landlock can only allow, so that nothing inside the workspace is protected from a command, and what a command
may see is a list. There is no network namespace either: the filter lets no socket be made at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.policy import Policy
from sandbox.seccomp import program

LEAST_LANDLOCK = 6
"""The first version that keeps a command from signalling others, and from abstract sockets."""
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/proc",
    "/sys/devices/system/cpu",
)
OWN = Path(__file__).parent
"""Our programs, some of which import others beside them."""
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))
"""One by one: beside them lie disks, and shared memory of the user's other programs. Not /dev/pts, for the
user's terminals are in it; a terminal of a command's own would be as well, so that it can have none."""


@dataclass(frozen=True)
class Alone:
    seccomp: bytes
    """The filter for system calls; it lets no socket be made."""
    private: Path
    """An empty folder of ours, for the home folder and the temporary files of commands."""

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.private / "home"), "TMPDIR": str(self.private / "tmp")}

    def furnish(self) -> None:
        for folder in self.environment.values():
            Path(folder).mkdir(exist_ok=True)

    def around(self, _options: int) -> list[str]:
        return []

    def arguments(self, _policy: Policy) -> list[str]:
        return []

    def settings(self, policy: Policy) -> dict[str, Any]:
        """For the supervisor."""
        filter = self.seccomp
        if policy.restores:
            filter = program(sockets=False, set_user_id=True) or filter
        return {
            "rooms": False,
            "landlock": True,
            "readable": self._readable(policy),
            "writable": self._writable(policy),
            "filter": filter.hex(),
        }

    def _readable(self, policy: Policy) -> list[str]:
        hidden = {str(place) for place in policy.masked}
        etc = [entry.path for entry in os.scandir("/etc") if os.path.realpath(entry.path) not in hidden]
        mounted = [str(mount.target) for mount in policy.mounts]
        return [*SYSTEM, *etc, *map(str, policy.readable), *mounted, str(OWN)]

    def _writable(self, policy: Policy) -> list[str]:
        mounted = [str(mount.target) for mount in policy.mounts if mount.writable]
        return [*mounted, str(self.private), *DEVICES]
