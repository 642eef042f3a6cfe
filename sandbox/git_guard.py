"""What makes git run programs, in every repository of a workspace: held fast, and looked at again.

Hooks, filters, pagers and the like are named by a repository's configuration, and that by a few files. What
exists of them is bound read-only, so that no command can change it. What does not exist cannot be bound
without leaving something in the user's repository, so that a command can make it: it is gone again before the
command's result is seen. So is what tells a rebase that has stopped to run something, and a link in a git
folder that was not there before, for git would write through it. A repository made anew during the session
may hold what it likes; it is reported.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from sandbox import git_unfinished
from sandbox.errors import SandboxError
from sandbox.git_folders import Kind, find, head, is_folder, is_its_own
from sandbox.policy import Pin

STARTERS = (
    "hooks",
    "config",
    "config.worktree",
    "commondir",
    "info/attributes",
    "info/exclude",
    "remotes",
    "branches",
)
"""`info/exclude` runs nothing: it hides files from whoever looks at what a command has left. The last two are
older ways to say where a remote is: a push to a folder runs the hooks that lie there."""
_NOT_LOOKED_INTO = {"hooks", "modules", "worktrees"}
_MOST_HOOKS = 10_000


@dataclass(frozen=True)
class Guarded:
    """A git folder, a file that points to one, or what a configuration names, relative to the workspace."""

    path: str
    is_folder: bool
    """Whether it is a git folder."""
    there: frozenset[str] = frozenset()
    """Those of STARTERS, and the links, that were there, relative to the git folder."""
    content: str = ""
    """A digest of them all."""
    orders: frozenset[tuple[str, bytes]] = frozenset()
    """What a rebase or the like that has stopped would have done when it goes on."""


def survey(root: Path, kind: Kind = "tree") -> list[Guarded]:
    """All that git would take for a repository in the tree at `root`, and folders that cannot be looked into.

    Raises SandboxError where there are more than can be looked after.
    """
    with _explained(root):
        found = find(root, kind)
        folders = [_look(root, path, True) for path in found.folders]
        others = [_look(root, path, False) for path in (*found.pointers, *found.unseen)]
        return sorted([*folders, *others], key=lambda guarded: guarded.path)


def look(root: Path, paths: Iterable[str]) -> list[Guarded]:
    """The same for what a configuration names: hooks elsewhere, further files of settings."""
    with _explained(root):
        return [_look(root, path, False) for path in paths]


def news(root: Path, before: Iterable[Guarded]) -> list[str]:
    """What the user should look at before git does: repositories that were made, folders that nobody can look
    into, and what is not as it was. In words; raises SandboxError."""
    with _explained(root):
        found, known = find(root), {place.path for place in before}
        made = [path for path in (*found.folders, *found.pointers) if path not in known]
        hidden = [f"{path} (cannot be looked into)" for path in found.unseen if path not in known]
        changed = [f"{path} (changed)" for path in changed_since(root, before)]
        return sorted([*made, *hidden, *changed])


def pins(source: Path, root: Path, guarded: Iterable[Guarded]) -> list[Pin]:
    """What to hold fast in the tree at `source`, which commands see at `root`.

    A git folder can be neither renamed away nor replaced, nor can any folder above it, which would take it
    along; what of it makes git run programs is read-only, also what the user makes there later.
    """
    made: dict[Path, Pin] = {}
    with _explained(source):
        for place in guarded:
            here, there = source / place.path, root / place.path
            if os.path.realpath(here) != str(here) or not os.path.lexists(here):
                continue  # nothing is there, or a link, which cannot be held
            above = [root / folder for folder in reversed(PurePath(place.path).parents[:-1])]
            linked = place.is_folder and any((here / name).is_symlink() for name in ("info", *STARTERS))
            made |= {folder: Pin(folder, writable=True) for folder in above if folder not in made}
            if not place.is_folder or linked:
                made[there] = Pin(there)
                continue
            # Without the folder, one with hooks in it could be made, and run by a commit in another terminal.
            (here / "hooks").mkdir(exist_ok=True)
            made |= {folder: Pin(folder, writable=True) for folder in (there, there / "info")}
            made |= {there / name: Pin(there / name) for name in STARTERS}
    return list(made.values())


def intruders(source: Path, guarded: Iterable[Guarded]) -> list[str]:
    """What stands now where nothing stood and nothing is bound, relative to the workspace; and HEAD, where it
    makes a git folder of the workspace itself, in the place of a `.git` that was broken."""
    with _explained(source):
        found = ["HEAD"] if is_its_own(source) else []
        for place in guarded:
            if place.is_folder:
                new = _actors(source / place.path) - {"hooks", *place.there}
                ordered = git_unfinished.orders(source / place.path) - place.orders
                new |= {name for name, _words in ordered}
                found += [f"{place.path}/{name}" for name in sorted(new)]
            elif not place.content and os.path.lexists(source / place.path):
                found.append(place.path)
        return found


def locked(source: Path, guarded: Iterable[Guarded]) -> list[str]:
    """Folders that a command has closed to their owner, so that nothing could be held fast any more."""
    closed = []
    for place in guarded:
        parents = [str(folder) for folder in reversed(PurePath(place.path).parents[:-1])]
        own = [place.path, *(f"{place.path}/{name}" for name in ("info", "hooks"))] if place.is_folder else []
        for path in (*parents, *own):
            with contextlib.suppress(OSError):
                mode = (source / path).lstat().st_mode
                if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                    closed.append(path)
    return list(dict.fromkeys(closed))


def changed_since(source: Path, guarded: Iterable[Guarded]) -> list[str]:
    """Git folders in which git acts on something else than it did, relative to the workspace; "." where that
    itself would be one now."""
    with _explained(source):
        changed = ["."] if is_its_own(source) else []
        for place in guarded:
            now = _look(source, place.path, place.is_folder)
            same = now.content == place.content and now.there <= {"hooks", *place.there}
            same = same and now.orders <= place.orders
            if not same and os.path.lexists(source / place.path):
                changed.append(place.path)
    return changed


def _look(root: Path, path: str, is_git: bool) -> Guarded:
    place = root / path
    if not is_git or not is_folder(place):
        return Guarded(path, False, content=_digest([place]))
    content = _digest(place / name for name in STARTERS)
    return Guarded(path, True, frozenset(_actors(place)), content, git_unfinished.orders(place))


def _actors(folder: Path) -> set[str]:
    """What of a git folder git acts on: its starters, and what it would write through or wait for.

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
                        if here != "objects/" and not (here == "" and name in _NOT_LOOKED_INTO):
                            waiting.append(f"{name}/")
                    elif entry.is_symlink() or _is_pipe(entry):
                        # What is reached through it is no more than the link itself.
                        found = {other for other in found if not other.startswith(f"{name}/")} | {name}
        except OSError:  # it has gone meanwhile
            continue
    return found


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    """Whoever opens it waits for its other end, which nobody is at."""
    return not entry.is_file(follow_symlinks=False) and stat.S_ISFIFO(
        entry.stat(follow_symlinks=False).st_mode
    )


def _digest(starters: Iterable[Path]) -> str:
    """Of names, kinds and contents, links not followed; "" where nothing is. An empty folder is nothing."""
    seen, found = hashlib.sha256(), False
    for starter in starters:
        for place in _all_of(starter):
            status = place.lstat()
            if stat.S_ISDIR(status.st_mode):
                continue
            found = True
            seen.update(f"{place}\0{status.st_mode:o}\0".encode("utf-8", "surrogateescape"))
            if stat.S_ISREG(status.st_mode):
                seen.update(hashlib.sha256(head(place)).digest())
            elif stat.S_ISLNK(status.st_mode):
                seen.update(os.fsencode(os.readlink(place)))
    return seen.hexdigest() if found else ""


def _all_of(starter: Path) -> Iterator[Path]:
    """A file, or all that is in a folder, in an order that is always the same."""
    if not os.path.lexists(starter):
        return
    waiting, seen = [starter], 0
    while waiting and seen < _MOST_HOOKS:
        place = waiting.pop()
        seen += 1
        yield place
        if is_folder(place):
            with contextlib.suppress(OSError):
                waiting += sorted((place / name for name in os.listdir(place)), reverse=True)


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        where = f" ({os.fsdecode(problem.filename)[:200]})" if problem.filename else ""
        raise SandboxError(
            f"The git repositories in {root} cannot be looked after: {problem.strerror}{where}."
        ) from None
