"""A tree of files walked by paths that may be anybody's, one component at a time on open folders. Standard
library only.

A link is followed only while it stays below the root, so that nothing can be swapped in between; what git
takes for its own is not written.
"""

from __future__ import annotations

import errno
import os
import unicodedata

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_LINKS = 40
MOST_LEVELS = 200
"""Folders within each other: each is held open while a path is walked."""
LONGEST_NAME = 255
"""Bytes, as every file system here has it."""


class Refused(Exception):
    """One sentence for the caller."""


class Place:
    """An open folder and a name in it: where a path ends after its links were followed."""

    def __init__(self, folder: int, name: str) -> None:
        self.folder = folder
        self.name = name

    def status(self) -> os.stat_result:
        return os.stat(self.name or ".", dir_fd=self.folder, follow_symlinks=False)


class Tree:
    def __init__(self, root: str) -> None:
        self.root = root
        self.top = os.open(root, FOLDER)

    def find(self, path: str, *, follow: bool = True, create: bool = False, change: bool = False) -> Place:
        """Walks to `path`. The caller closes `folder`.

        Missing folders are made where `create`. Where something is to `change`, what is git's is refused:
        by name, and by what lies in a folder, on the way that is really taken.
        """
        rest = self.split(path)
        if change:
            _require_not_git(path, rest)
        opened = [os.dup(self.top)]
        links = 0
        try:
            while rest:
                part = rest.pop(0)
                if part == "..":
                    if len(opened) == 1:
                        raise Refused(f"{path!r} leaves the workspace.")
                    os.close(opened.pop())
                    continue
                target = _link(opened[-1], part) if follow or rest else None
                if target is not None:
                    links += 1
                    if links > MOST_LINKS:
                        raise Refused(f"{path!r} goes through too many symbolic links.")
                    onward = self._through(path, target, opened)
                    if change:
                        _require_not_git(path, onward)
                    rest = onward + rest
                    continue
                if not rest:
                    return Place(opened.pop(), part)
                if len(opened) > MOST_LEVELS:
                    raise Refused(f"{path!r} lies more than {MOST_LEVELS} folders deep.")
                # A folder is not made only to be left again by `..`.
                opened.append(_enter(opened[-1], part, create and ".." not in rest))
                if change and _is_git_folder(opened[-1]):
                    raise Refused(f"{path!r} is git's own; change it with git commands.")
            return Place(opened.pop(), "")
        finally:
            for fd in opened:
                os.close(fd)

    def split(self, path: str) -> list[str]:
        if os.path.isabs(path):
            raise Refused(f"{path!r} is absolute; give a path relative to the workspace.")
        if "\0" in path:
            raise Refused("A path cannot hold a NUL character.")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        try:
            longest = max((len(os.fsencode(part)) for part in parts), default=0)
        except UnicodeEncodeError:
            raise Refused(f"{path!r} holds a character that no file name can have.") from None
        if longest > LONGEST_NAME:
            raise Refused(f"{path[:80]!r}… has a name of more than {LONGEST_NAME} bytes.")
        return parts

    def _through(self, path: str, target: str, opened: list[int]) -> list[str]:
        if os.path.isabs(target):
            if target != self.root and not target.startswith(self.root + "/"):
                raise Refused(f"{path!r} goes through a symbolic link that leaves the workspace ({target}).")
            while len(opened) > 1:
                os.close(opened.pop())
            target = target[len(self.root) + 1 :]
        return [part for part in target.split("/") if part not in ("", ".")]


def _link(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as problem:
        if problem.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _enter(folder: int, name: str, create: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    os.mkdir(name, dir_fd=folder)
    return os.open(name, FOLDER, dir_fd=folder)


def _require_not_git(path: str, parts: list[str]) -> None:
    if any(is_git_name(part) for part in parts):
        raise Refused(f"{path!r} is git's own; change it with git commands.")


def is_git_name(name: str) -> bool:
    """Whether some file system takes `name` for `.git`.

    There are those without regard to case (ext4 can be one), to characters that nobody sees (HFS+), and to
    what follows a colon, dots and spaces at the end (NTFS, with its short name).
    """
    if not name.isascii():
        name = "".join(c for c in unicodedata.normalize("NFC", name) if not _is_unseen(c))
    return name.partition(":")[0].rstrip(" .").casefold() in (".git", "git~1")


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or character in _SELECTORS


_SELECTORS = {"\u034f", "\u115f", "\u1160", "\u3164", *map(chr, range(0xFE00, 0xFE10))}


def _is_git_folder(folder: int) -> bool:
    """A repository without a working tree around it, whatever its name, or a part of one."""
    return _has(folder, "HEAD") and (
        _has(folder, "commondir") or (_has(folder, "objects") and _has(folder, "refs"))
    )


def _has(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder)
    except OSError:
        return False
    return True
