"""What a command inside the sandbox sees: hidden folders, what is bound over them, its environment.

A pure description; `bubblewrap.py` turns it into arguments. Order matters and is kept: hidden
folders first, then what shines through them, the workspace last.
"""

from __future__ import annotations

import glob
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sandbox.toolchain import Toolchain, join_path, passed_on, path_outside

HIDDEN = ("/tmp", "/run", "/var/tmp", "/home", "/root")
# Home-like folders that may lie elsewhere; whoever moves them has credentials there all the same.
HOME_VARIABLES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
SECRET_FILES = (
    "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssh/ssh_host_*_key",
    "/etc/krb5.keytab", "/etc/sudoers", "/etc/security/opasswd",
)  # fmt: skip
SECRET_FOLDERS = ("/etc/ssl/private", "/etc/pki/tls/private", "/etc/sudoers.d")
SYSTEM = tuple(Path(p) for p in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys"))
INSIDE_HOME = Path("/home/ostro")
"""Home inside the sandbox where the caller's own cannot be covered (HOME=/, a missing folder)."""


@dataclass(frozen=True)
class Mount:
    source: Path
    target: Path
    writable: bool = False
    identity: tuple[int, int] | None = None
    """Device and number of what is to be there: with anything else the sandbox does not stand. For sources
    that commands can replace, since bubblewrap follows whatever link lies there by then."""


@dataclass(frozen=True)
class Overlay:
    """Folders of the host seen as one, later ones above earlier ones; what is written goes to `upper`."""

    lower: tuple[Path, ...]
    target: Path
    upper: Path | None = None
    """None: nothing can be written."""
    work: Path | None = None
    """An empty folder beside `upper`, for the kernel."""

    @property
    def writable(self) -> bool:
        return self.upper is not None


@dataclass(frozen=True)
class Pin:
    """What is bound onto itself for each command, so that it can be neither renamed nor replaced."""

    path: Path
    writable: bool = False


@dataclass(frozen=True)
class Policy:
    """One workspace's view of the machine."""

    root: Path
    home: Path
    hidden: tuple[Path, ...]
    masked: tuple[Path, ...]
    """Files and folders elsewhere that are made unreadable."""
    readable: tuple[Path, ...]
    environment: Mapping[str, str]
    scratch_bytes: int
    mounts: tuple[Mount | Overlay, ...] = field(default=())
    """The workspace, then what lies on it, in order."""
    pins: tuple[Pin, ...] = field(default=())
    """On top of all mounts, in order; one that does not exist is left out."""
    restores: bool = False
    """Whether only Ostro's recorder runs under it, which puts files back with every permission they had."""

    @property
    def writable(self) -> list[Path]:
        """Folders that may be written, as they are seen inside."""
        bound = [mount.target for mount in self.mounts if mount.writable]
        return list(dict.fromkeys([*bound, *self.hidden, self.home, Path("/dev")]))

    def with_mounts(self, *mounts: Mount | Overlay) -> Policy:
        return replace(self, mounts=(*self.mounts, *mounts))

    def for_own_programs(self, repository: Path) -> Policy:
        """For what Ostro itself starts: on PATH no folder that a command could have put a program into.

        For Ostro may be asking about what is not held fast yet, or have let go of it.
        """
        path = path_outside(self.environment.get("PATH", os.defpath), repository)
        kept = join_path(entry for entry in path.split(os.pathsep) if not self._is_empty(entry))
        return replace(self, environment={**self.environment, "PATH": kept})

    def _is_empty(self, entry: str) -> bool:
        """Whether a folder is one in memory inside, where commands write."""
        real = Path(os.path.realpath(entry))
        hidden = any(real.is_relative_to(folder) for folder in self.hidden)
        return hidden and not any(real.is_relative_to(place) for place in self.readable)


def caller_home(environ: Mapping[str, str]) -> Path:
    return Path(os.path.realpath(environ.get("HOME") or os.path.expanduser("~")))


def _listed_home() -> Path:
    """The home folder of the user who runs this, whatever the environment says."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir or os.devnull)
    except KeyError:  # a user that is not listed
        return Path(os.devnull)


def hidden_folders(environ: Mapping[str, str], home: Path, root: Path) -> tuple[Path, ...]:
    """Real, existing folders to cover, parents first; never one that the system itself lives in."""
    # HOME may be set to anything; what is private lies where the user's entry says all the same.
    wanted = [Path(p) for p in HIDDEN] + [home, _listed_home()]
    wanted += [Path(environ[name]) for name in HOME_VARIABLES if os.path.isabs(environ.get(name, ""))]
    found = {Path(os.path.realpath(p)) for p in wanted if p.is_dir()}
    kept = [p for p in found if _may_cover(p) and not p.is_relative_to(root)]
    return tuple(sorted(kept, key=lambda p: (len(p.parts), str(p))))


def build_policy(
    environ: Mapping[str, str], root: Path, home: Path, hidden: Sequence[Path], toolchain: Toolchain,
    scratch_bytes: int,
) -> Policy:  # fmt: skip
    inside_home = home if home in hidden else INSIDE_HOME
    env = passed_on(environ)
    env.setdefault("LANG", "C.UTF-8")
    env["HOME"] = str(inside_home)
    env["PATH"] = join_path(toolchain.path)
    # A bytecode file is valid for a source of the same size and second: a program edited twice in
    # one second would be tested in its older form.
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return Policy(
        root=root,
        home=inside_home,
        hidden=tuple(hidden),
        masked=_secrets(),
        readable=toolchain.readable,
        environment=env,
        scratch_bytes=scratch_bytes,
    )


def _may_cover(path: Path) -> bool:
    if path == Path(path.anchor):
        return False
    return not any(path.is_relative_to(s) or s.is_relative_to(path) for s in SYSTEM)


def _secrets() -> tuple[Path, ...]:
    """What only uid 0 can read, and would read, inside as well as outside."""
    files = [Path(p) for pattern in SECRET_FILES for p in glob.glob(pattern)]
    folders = [Path(p) for p in SECRET_FOLDERS if os.path.isdir(p)]
    return tuple(p for p in (*files, *folders) if not p.is_symlink() and os.access(p, os.R_OK))
