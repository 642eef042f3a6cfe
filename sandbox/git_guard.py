"""What makes git run programs, in every repository of a workspace: found, bound read-only, looked at again.

Hooks, filters, pagers and the like are named by a repository's configuration, and that by a few files. What
exists of them is bound read-only, so that no command can change it. What does not exist cannot be bound
without leaving something in the user's repository, so that a command can make it: it is gone again before the
command's result is seen. So is a link in a git folder that was not there before, for git would write through
it. A repository made anew during the session may hold what it likes; it is reported.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from sandbox.errors import SandboxError
from sandbox.policy import Pin

STARTERS = ("hooks", "config", "config.worktree", "commondir", "info/attributes")
_LOOKS_LIKE_GIT = {"HEAD", "objects", "refs"}
_IN_GIT = {"modules", "worktrees"}
"""Folders of a git folder that hold further ones."""
MOST_REPOSITORIES = 300
MOST_FOLDERS = 300_000


@dataclass(frozen=True)
class Guarded:
    """A git folder, or a file that points to one, relative to the workspace."""

    path: str
    is_pointer: bool
    there: frozenset[str]
    """Those of STARTERS, and the links, that were there, relative to the git folder."""
    content: str
    """A digest of them all."""


def survey(root: Path) -> list[Guarded]:
    """All that git would take for a repository in the tree at `root`.

    Raises SandboxError where there are more than can be looked after.
    """
    found: list[Guarded] = []
    for path in _places(root):
        found.append(_look(root, path))
        if len(found) > MOST_REPOSITORIES:
            raise SandboxError(
                f"There are more than {MOST_REPOSITORIES} git repositories in {root}, too many to protect; "
                "start in a smaller folder."
            )
    return sorted(found, key=lambda guarded: guarded.path)


def pins(source: Path, root: Path, guarded: Iterable[Guarded]) -> list[Pin]:
    """What to hold fast in the tree at `source`, which commands see at `root`.

    A git folder is bound onto itself, for a mount point cannot be renamed away and replaced, and so is every
    folder above it, which would take it along; what of it makes git run programs is read-only, also what the
    user makes there later.
    """
    made: list[Pin] = []
    held: set[Path] = set()
    for place in guarded:
        here, there = source / place.path, root / place.path
        if not os.path.lexists(here) or here.is_symlink():
            continue
        above = [root / folder for folder in reversed(PurePath(place.path).parents[:-1])]
        made += [Pin(folder, writable=True) for folder in above if folder not in held]
        held.update((*above, there))
        if place.is_pointer or any((here / name).is_symlink() for name in ("info", *STARTERS)):
            made.append(Pin(there))
            continue
        made.append(Pin(there, writable=True))
        # Without the folder, one with hooks in it could be made, and run by a commit in another terminal.
        (here / "hooks").mkdir(exist_ok=True)
        made += [Pin(there / name) for name in STARTERS]
    return made


def intruders(source: Path, guarded: Iterable[Guarded]) -> list[str]:
    """What stands now where nothing stood and nothing is bound, relative to the workspace."""
    return [
        f"{place.path}/{name}"
        for place in guarded
        if not place.is_pointer
        for name in sorted(_actors(source / place.path) - {"hooks", *place.there})
    ]


def changed_since(source: Path, guarded: Iterable[Guarded]) -> list[str]:
    """Git folders in which git acts on something else than it did, relative to the workspace."""
    changed = []
    for place in guarded:
        now = _look(source, place.path)
        if now.content != place.content or not now.there <= place.there:
            changed.append(place.path)
    return changed


def _look(root: Path, path: str) -> Guarded:
    place = root / path
    if not place.is_dir():
        return Guarded(path, True, frozenset(), _digest([place]))
    return Guarded(path, False, frozenset(_actors(place)), _digest(place / name for name in STARTERS))


def _actors(folder: Path) -> set[str]:
    """What of a git folder git acts on: its starters, and what it would write through.

    Links among the objects themselves are only read; further git folders in it are looked at on their own.
    """
    found = {name for name in STARTERS if os.path.lexists(folder / name)}
    waiting = [""]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(folder / here) as entries:
                for entry in entries:
                    name = f"{here}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        if here != "objects/" and not (here == "" and name in {"hooks", *_IN_GIT}):
                            waiting.append(f"{name}/")
                    elif entry.is_symlink():
                        # What is reached through it is no more than the link itself.
                        found = {other for other in found if not other.startswith(f"{name}/")} | {name}
        except OSError:  # it has gone meanwhile
            continue
    return found


def _digest(starters: Iterable[Path]) -> str:
    """Of names, kinds and contents, links not followed."""
    seen = hashlib.sha256()
    for starter in starters:
        inner = sorted(starter.rglob("*")) if starter.is_dir() and not starter.is_symlink() else []
        for place in (starter, *inner):
            if not os.path.lexists(place):
                continue
            status = place.lstat()
            seen.update(f"{place}\0{status.st_mode:o}\0".encode("utf-8", "surrogateescape"))
            if stat.S_ISREG(status.st_mode):
                seen.update(hashlib.sha256(_head(place)).digest())
            elif stat.S_ISLNK(status.st_mode):
                seen.update(os.fsencode(os.readlink(place)))
    return seen.hexdigest()


def _head(place: Path) -> bytes:
    """As much of a file as git's would ever have; a link put in its place is not followed."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read(1 << 20)


def _places(root: Path) -> Iterator[str]:
    waiting, seen = [""], 0
    while waiting:
        here = waiting.pop()
        seen += 1
        if seen > MOST_FOLDERS:
            raise SandboxError(
                f"{root} has more than {MOST_FOLDERS:,} folders, too many to look for git repositories in; "
                "start in a smaller folder."
            )
        try:
            with os.scandir(root / here) as entries:
                folders = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError:
            continue
        is_git = folders.keys() >= _LOOKS_LIKE_GIT or here.split("/")[-2:-1] == ["worktrees"]
        if here and (is_git or here.endswith("/.git") or here == ".git"):
            yield here
        if ".git" in folders and not folders[".git"]:
            yield f"{here}/.git" if here else ".git"
        for name, is_folder in folders.items():
            if is_folder and (not is_git or name in _IN_GIT):
                waiting.append(f"{here}/{name}" if here else name)
