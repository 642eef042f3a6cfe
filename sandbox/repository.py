"""Which folder is the workspace: the top of the git repository that holds a path.

Read with plain file calls and never by running git, which would act on the repository's own
configuration outside the sandbox.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import NotARepository

LARGEST = 1 << 20
"""Bytes of a file of git's that are looked at."""


@dataclass(frozen=True)
class Repository:
    root: Path
    """Real path of the top of the working tree."""
    git_dir: Path
    """What `.git` is or points to."""
    outside: tuple[Path, ...] = ()
    """Git folders beyond `root` that a linked worktree or a submodule needs to be read."""

    @property
    def common_dir(self) -> Path:
        """Where `info/exclude` lives: the main repository's git folder, for a linked worktree."""
        return self.outside[-1] if self.outside else self.git_dir


def find_repository(path: Path, *, home: Path | None = None) -> Repository:
    """The repository that holds `path`. Raises NotARepository with one sentence."""
    home = _real(home or Path(os.path.expanduser("~")))
    start = _real(path)
    if not os.path.isdir(start):  # which a name that is too long is not either
        raise NotARepository(f"{path} is not a folder; name the folder of a git repository.")
    for folder in (start, *start.parents):
        if not os.path.lexists(folder / ".git"):
            continue
        _refuse_broad(folder, home)
        return _open(folder)
    if (start / "HEAD").is_file() and (start / "objects").is_dir():
        raise NotARepository(f"{start} is a bare git repository; check it out and start in the working tree.")
    raise NotARepository(
        f"{start} is not in a git repository; run `git init` there, or start in a folder that is in one."
    )


def _refuse_broad(root: Path, home: Path) -> None:
    if root == Path(root.anchor) or home == root or home.is_relative_to(root):
        raise NotARepository(
            f"The git repository found is {root}, which holds your whole home folder; "
            "start in the folder of one project that is a git repository of its own."
        )


def _open(root: Path) -> Repository:
    mark = root / ".git"
    if mark.is_symlink():
        raise NotARepository(f"{mark} is a symbolic link, which cannot be protected; make it a folder.")
    if mark.is_dir():
        if not (mark / "HEAD").exists():
            raise NotARepository(f"{mark} is not a git folder (it has no HEAD); run `git init` in {root}.")
        return Repository(root, mark)
    pointer = _first_line(mark)
    if not pointer.startswith("gitdir:"):
        raise NotARepository(f"{mark} does not point to a git folder; run `git init` in {root}.")
    git_dir = _real(root / pointer.removeprefix("gitdir:").strip())
    if _is_worktree_of(git_dir, root):
        common = _real(git_dir / (_first_line(git_dir / "commondir") or "."))
        if git_dir.parent != common / "worktrees":
            # Else a tree that was unpacked could name any folder, to be read and written as its git folder.
            raise NotARepository(
                f"{git_dir} is not where git keeps a worktree of {common}; repair it with git."
            )
        return Repository(root, git_dir, (common,))
    if _is_submodule_of(git_dir, root):
        return Repository(root, git_dir, (git_dir,))
    raise NotARepository(f"{mark} points to {git_dir}, which does not point back; repair it with git first.")


def _is_worktree_of(git_dir: Path, root: Path) -> bool:
    """The pointer is the repository's own word; the way back is not, so it has to exist too."""
    back = _first_line(git_dir / "gitdir")
    return bool(back) and _real(Path(back)) == root / ".git"


def _is_submodule_of(git_dir: Path, root: Path) -> bool:
    match = re.search(r"^\s*worktree\s*=\s*(.+?)\s*$", _text(git_dir / "config"), re.MULTILINE)
    return match is not None and _real(git_dir / match[1]) == root


def _first_line(path: Path) -> str:
    return _text(path)[:4096].partition("\n")[0].strip()


def _text(path: Path) -> str:
    """The beginning of a regular file, else nothing: what a repository brings may be a pipe that nobody
    writes to, or lead to a device that never ends."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):  # a pointer may hold a NUL character
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(LARGEST).decode("utf-8", "replace") if os.path.isfile(fd) else ""


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
