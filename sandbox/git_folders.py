"""Where git folders lie in a tree, by where git would look for them; never by running it.

A folder's looks say what it may be, but not what need not be looked into: a hostile tree can have any looks.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandbox.errors import SandboxError

MOST_REPOSITORIES = 300
MOST_FOLDERS = 300_000
_NO_REPOSITORIES = {"objects", "refs", "logs", "hooks", "info"}
"""Of a git folder below `modules`: another submodule's may lie beside these."""

_NEEDED = ("objects", "refs")
_NAMES_SOMETHING = re.compile(rb"ref:[ \t\r\n]*refs/|[0-9a-fA-F]{40}")
"""What git takes for the content of HEAD."""

Kind = Literal["tree", "git", "modules", "worktrees"]
"""A folder of files; a git folder; one of a git folder's that holds further ones."""


@dataclass
class Found:
    """Paths relative to the tree."""

    folders: list[str] = field(default_factory=list)
    pointers: list[str] = field(default_factory=list)
    """Files and links named `.git`."""
    unseen: list[str] = field(default_factory=list)
    """Folders that could not be looked into."""

    def count(self) -> int:
        return len(self.folders) + len(self.pointers)


def find(root: Path, kind: Kind = "tree") -> Found:
    """All git folders and pointers to one. Raises SandboxError where they are too many to look after."""
    found, seen = Found(), 0
    waiting: list[tuple[str, Kind]] = [("", kind)]
    while waiting:
        here, kind = waiting.pop()
        seen += 1
        if seen > MOST_FOLDERS:
            raise SandboxError(
                f"{root} has more than {MOST_FOLDERS:,} folders, too many to look for git repositories in; "
                "start in a smaller folder."
            )
        try:
            with os.scandir(root / here) as entries:
                inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            found.unseen.append(here)
            inside = {}
        below = f"{here}/" if here else ""
        if here and (kind == "git" or _looks_like_git(inside)):
            found.folders.append(here)
        if ".git" in inside and not inside[".git"]:
            found.pointers.append(f"{below}.git")
        if found.count() > MOST_REPOSITORIES:
            raise SandboxError(
                f"There are more than {MOST_REPOSITORIES} git repositories in {root}, too many to protect; "
                "start in a smaller folder."
            )
        folders = [name for name, is_folder in inside.items() if is_folder]
        for name, onward in _onward(kind, inside, folders):
            waiting.append((f"{below}{name}", onward))
    return found


def is_its_own(root: Path) -> bool:
    """Whether git, in this tree, would take the tree itself for its git folder: it looks like one, and the
    `.git` in it is none any more, so that git looks further."""
    looks = _looks_like_git(dict.fromkeys(os.listdir(root), False))
    return looks and not os.path.isfile(root / ".git") and not _is_repository(root / ".git")


def _is_repository(folder: Path) -> bool:
    """As git has it: by the kinds of three names, and the beginning of one. What is doubtful is none."""
    try:
        if not all(is_folder(folder / name) and os.access(folder / name, os.X_OK) for name in _NEEDED):
            return False
    except PermissionError:
        return False
    return _NAMES_SOMETHING.match(head(folder / "HEAD")[:200]) is not None


def head(place: Path) -> bytes:
    """As much of a file as git's would ever have; a link put in its place is not followed."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 20)
    except OSError:  # a folder
        return b""
    finally:
        os.close(fd)


def _looks_like_git(inside: dict[str, bool]) -> bool:
    return "HEAD" in inside and ("commondir" in inside or {"objects", "refs"} <= inside.keys())


def _onward(kind: Kind, inside: dict[str, bool], folders: list[str]) -> Iterator[tuple[str, Kind]]:
    """Which folders below one to look into, and as what."""
    is_git = kind == "git" and "HEAD" in inside
    for name in folders:
        if name == ".git":
            yield name, "git"
        elif (is_git or _looks_like_git(inside)) and name in ("modules", "worktrees"):
            yield name, "modules" if name == "modules" else "worktrees"
        elif kind == "worktrees":
            yield name, "git"
        elif kind == "modules":
            if not (_looks_like_git(inside) and name in _NO_REPOSITORIES):
                yield name, "modules"
        elif not is_git:
            yield name, "tree"


def is_folder(path: Path) -> bool:
    """Of a real folder, no link to one. Raises OSError, but not where nothing is."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
