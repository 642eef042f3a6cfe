"""Which repositories the user trusts: a file of the user's config folder, one real path a line.

Never kept in a repository, and read before anything of a repository is taken for an instruction.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.config import config_folder, settings_file
from agent.ending import EnvironmentProblem, WrongUsage


def trusted(root: Path | None = None) -> list[Path]:
    """The trusted repositories, sorted. EnvironmentProblem: unreadable, or a file of the one at `root`."""
    path = settings_file("trusted", root)
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be read ({error.strerror}).") from error
    return sorted(Path(os.fsdecode(line)) for line in lines if line.startswith(b"/"))


def is_trusted(root: Path) -> bool:
    """Whether the user trusts the repository at this real path."""
    return root in trusted(root)


def trust(root: Path, *, remove: bool = False) -> bool:
    """Adds or removes a repository by its real path; False where that changed nothing.

    Raises EnvironmentProblem where the config folder cannot be written or lies in the repository.
    """
    if "\n" in str(root):
        raise WrongUsage("A repository with a line feed in its path cannot be trusted; rename its folder.")
    with _alone(root):
        before = trusted(root)
        if (root in before) is not remove:
            return False
        after = [path for path in before if path != root] if remove else sorted([*before, root])
        _replace(settings_file("trusted", root), b"".join(os.fsencode(path) + b"\n" for path in after))
    return True


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds the config folder, which is made where it is missing, against a second `ostro trust`."""
    folder = config_folder(root)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EnvironmentProblem(f"{folder} cannot be used ({error.strerror}).") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes) -> None:
    """The whole file or, where something goes wrong, the old one. `mkstemp` gives it mode 0600."""
    new = ""
    try:
        fd, new = tempfile.mkstemp(prefix="trusted-", dir=path.parent)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise EnvironmentProblem(f"{path} cannot be written ({error.strerror}).") from error
