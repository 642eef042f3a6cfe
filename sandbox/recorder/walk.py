"""Records a tree of files: every folder is looked at, and only what has changed since is read."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence

from . import chunks
from .access import LOOK, allowed
from .index import Index, Names, Seen, signature
from .losses import Losses
from .rules import Rules, is_cache
from .snapshot import USUAL, Snapshot, kind_of, write_snapshot
from .store import BLOB, TREE, Store
from .trees import FILE, FOLDER, LINK, PROGRAM, Entry, encode

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 4 << 20
_SETTLED = 2_000_000_000
"""Nanoseconds after which a file's times tell it from the same file written again; some file systems count
in two seconds."""
_TRIES = 3
_GIT = ".git"
DEEPEST = 500
"""Folders within each other; each takes an open file."""
_LONGEST = 3_800
"""Bytes of a folder's path: git takes none of 4,096 for a file."""


class Unsteady(Exception):
    """A file that grows shorter each time it is read."""


class Walk:
    """One walk over the tree. `like` are snapshots whose files count as recorded, though they be ignored."""

    def __init__(
        self, store: Store, old: Index, rules: Rules, root: str, git_index: str,
        excludes: Sequence[str], like: Sequence[Snapshot],
    ) -> None:  # fmt: skip
        self._store = store
        self._old = old
        self._rules = rules
        self._root = root
        self._like = like
        self._git_index = git_index
        self._counts: dict[int, int] = {}
        self.index = Index([signature(path) for path in excludes])
        self.losses = Losses(old.watched)
        self.unreadable: list[str] = []
        self.too_deep: list[str] = []

    def record(self, session: str) -> bytes:
        """The snapshot's id. The store and the index are still to be committed. Raises OSError, Unsteady."""
        new = self.index
        new.session = session
        self._again = self._old.session != session
        recheck = self._again or new.rules != self._old.rules
        if self._again:
            self.losses = Losses(None)
        status = os.stat(self._root)
        files = self._below(None, self._root, status, "", "", recheck, False)
        usual, odd = self._permissions(status.st_mode)
        new.root = write_snapshot(self._store, files, new.gits, usual, odd)
        return new.root

    def _folder(self, fd: int, path: str, repository: str, recheck: bool, *, verbatim: bool) -> bytes:
        """Records an open folder; the id of its tree. `verbatim` for a git folder: nothing is ignored."""
        prefix = f"{path}/" if path else ""
        old_tree, old_names = self._old.folders.get(path, (b"", {}))
        with os.scandir(fd) as entries:
            found = {entry.name: entry for entry in entries}
        if not verbatim:
            if _GIT in found:
                repository, renewed = self._repository(path)
                recheck = recheck or renewed
            recheck = recheck or self._rules_changed(found.get(".gitignore"), old_names)
            if ".gitignore" in found:
                self._rules.never_wait(fd, f"{prefix}.gitignore")

        names: Names = {}
        stats: dict[str, os.stat_result] = {}
        open_questions: list[str] = []
        same = bool(old_tree)
        for name, entry in found.items():
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                same = False
                continue
            except PermissionError:  # another user's folder that can be listed, and no more
                self.unreadable.append(prefix + name)
                same = False
                continue
            known = old_names.get(name)
            was_ignored = name in old_names and known is None
            if isinstance(known, tuple) and not self._again and known[:5] == (
                status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino,
            ):  # fmt: skip
                names[name] = known
                self._count(status.st_mode)
                continue
            if not _is_kept_kind(status.st_mode):
                continue
            if name == _GIT and not verbatim:
                if path:
                    self._inner_git(fd, prefix + name, status)
                continue
            if stat.S_ISDIR(status.st_mode) and _is_too_deep(prefix + name):
                self.too_deep.append(prefix + name)
                names[name] = None
                same = same and was_ignored
                continue
            stats[name] = status
            if verbatim or (_same_kind(known, status.st_mode) and not self._again):
                continue
            if was_ignored and not recheck:
                names[name] = None
                continue
            open_questions.append(name)
        for name in self._ignored(open_questions, prefix, repository):
            names[name] = None

        trees: dict[str, Entry] = {}
        for name, status in stats.items():
            if name in names:  # it is ignored
                self.losses.see(fd, name, prefix + name, status)
                same = same and name in old_names and old_names[name] is None
                continue
            known = old_names.get(name)
            try:
                if stat.S_ISDIR(status.st_mode):
                    before = self._old.folders.get(prefix + name, (b"",))[0]
                    trees[name] = (
                        FOLDER,
                        self._below(fd, name, status, prefix + name, repository, recheck, verbatim),
                    )
                    names[name] = status.st_mode
                    same = same and isinstance(known, int) and trees[name][1] == before
                    continue
                seen = self._file(fd, name, status, known)
            except FileNotFoundError:
                same = False
                continue
            except PermissionError:
                if not (isinstance(known, tuple) and _only_closed(status, known)):
                    self.unreadable.append(prefix + name)
                    same = False
                    continue
                seen = status.st_mode, *known[1:3], status.st_ctime_ns, *known[4:]
            names[name] = seen
            self._count(seen[0])
            same = same and isinstance(known, tuple) and (known[0], known[5]) == (seen[0], seen[5])
        same = same and len([n for n in old_names if n not in names]) == 0
        tree = old_tree if same else self._tree(names, trees)
        self.index.folders[path] = (tree, names)
        return tree

    def _below(
        self, fd: int | None, name: str, status: os.stat_result, path: str, repository: str, recheck: bool,
        verbatim: bool,
    ) -> bytes:  # fmt: skip
        with allowed(name, fd, status, LOOK):
            inner = os.open(name, OPEN_FOLDER, dir_fd=fd)
            try:
                self._count(status.st_mode)
                return self._folder(inner, path, repository, recheck, verbatim=verbatim)
            finally:
                os.close(inner)

    def _tree(self, names: Names, trees: dict[str, Entry]) -> bytes:
        for name, seen in names.items():
            if isinstance(seen, tuple):
                trees[name] = (_git_mode(seen[0]), seen[5])
        return self._store.put(TREE, encode(trees))

    # Contents.

    def _file(self, fd: int, name: str, status: os.stat_result, known: Seen | int | None) -> Seen:
        if stat.S_ISLNK(status.st_mode):
            target = self._store.put(BLOB, os.fsencode(os.readlink(name, dir_fd=fd)))
            return _seen(status, target, status.st_ctime_ns)
        if isinstance(known, tuple) and known[:5] == _seen(status, b"")[:5]:
            return known
        for _ in range(_TRIES):
            with allowed(name, fd, status, stat.S_IRUSR) as closed:
                opened = _opened(name, fd)
            try:
                before = os.fstat(opened)
                if not stat.S_ISREG(before.st_mode):
                    raise FileNotFoundError(name)
                id = self._content(opened, before.st_size)
            except EOFError:
                continue
            finally:
                os.close(opened)
            # Opening it up has set its time anew, and no more than that.
            untouched = closed and before.st_mtime_ns == status.st_mtime_ns
            return _seen(before, id, status.st_ctime_ns if untouched else before.st_ctime_ns)
        raise Unsteady(name)

    def _content(self, fd: int, size: int) -> bytes:
        if size <= chunks.MOST:
            data = b""
            while len(data) <= chunks.MOST and (more := os.read(fd, chunks.MOST + 1)):
                data += more
            if len(data) <= chunks.MOST:
                return self._store.put(BLOB, data)
            data = data[:size]  # it grew while it was read; what it had at first is as good
            return self._store.put(BLOB, data)
        return self._store.put_blocks(size, _blocks(fd, size))

    # What is recorded.

    def _ignored(self, names: list[str], prefix: str, repository: str) -> list[str]:
        asked = []
        ignored = [name for name in names if is_cache(name)]
        asked = [name for name in names if not is_cache(name)]
        matched = self._rules.ignored([prefix + name for name in asked])
        ignored += [name for name in asked if prefix + name in matched]
        return [
            name
            for name in ignored
            if not self._rules.tracks(repository, prefix + name) and not self._is_like(prefix + name)
        ]

    def _is_like(self, path: str) -> bool:
        return any(snapshot.find(path) is not None for snapshot in self._like)

    def _rules_changed(self, entry: os.DirEntry[str] | None, old_names: Names) -> bool:
        known = old_names.get(".gitignore")
        if entry is None:
            return known is not None
        try:
            now = _seen(entry.stat(follow_symlinks=False), b"")
        except FileNotFoundError:
            return True
        return not isinstance(known, tuple) or known[:5] != now[:5]

    def _repository(self, path: str) -> tuple[str, bool]:
        """The repository at a folder, and whether its list of tracked files has changed."""
        where = self._git_index if not path else os.path.join(self._root, path, _GIT, "index")
        self.index.indexes[path] = now = signature(where)
        return path, now != self._old.indexes.get(path)

    def _inner_git(self, fd: int, path: str, status: os.stat_result) -> None:
        try:
            if stat.S_ISDIR(status.st_mode):
                tree = self._below(fd, _GIT, status, path, "", False, True)
                self.index.gits[path] = (FOLDER, tree)
                return
            # Beside the folder's own names, for it is no part of its tree.
            beside = path.removesuffix(_GIT)
            old = self._old.folders.get(beside, (b"", {}))[1].get(_GIT)
            seen = self._file(fd, _GIT, status, old)
            self._count(seen[0])
            self.index.folders[beside] = (b"", {_GIT: seen})
            self.index.gits[path] = (_git_mode(seen[0]), seen[5])
        except FileNotFoundError:
            return
        except PermissionError:
            self.unreadable.append(path)

    # Permissions.

    def _count(self, mode: int) -> None:
        self._counts[mode] = self._counts.get(mode, 0) + 1

    def _permissions(self, root: int) -> tuple[dict[str, int], dict[str, int]]:
        """The most common ones of each kind, and each path that has others."""
        usual, most = dict(USUAL), dict.fromkeys(USUAL, 0)
        for mode, count in sorted(self._counts.items()):
            if (git := _git_mode(mode)) != LINK and count > most[kind_of(git)]:
                usual[kind_of(git)], most[kind_of(git)] = stat.S_IMODE(mode), count
        if not any(_is_odd(mode, usual) for mode in self._counts):
            return usual, {}
        odd = {"": stat.S_IMODE(root)} if _is_odd(root, usual) else {}
        for folder, (_, names) in self.index.folders.items():
            for name, seen in names.items():
                mode = seen if isinstance(seen, int) else seen[0] if seen else None
                if mode is not None and _is_odd(mode, usual):
                    odd[f"{folder.rstrip('/')}/{name}" if folder else name] = stat.S_IMODE(mode)
        return usual, odd


def _opened(name: str, folder: int) -> int:
    try:
        return os.open(name, _OPEN_FILE, dir_fd=folder)
    except OSError as problem:
        if problem.errno == errno.ENXIO:  # a socket has taken the file's place
            raise FileNotFoundError(name) from None
        raise


def _seen(status: os.stat_result, id: bytes, written: int = 0) -> Seen:
    """`written` is when it may have been written last."""
    # So lately that the same times could be given to another content: read again next time.
    modified = status.st_mtime_ns if written < time.time_ns() - _SETTLED else -1
    return status.st_mode, status.st_size, modified, status.st_ctime_ns, status.st_ino, id


def _only_closed(status: os.stat_result, known: Seen) -> bool:
    """Whether nothing but the permissions seems to have changed."""
    return (status.st_size, status.st_mtime_ns, status.st_ino) == (known[1], known[2], known[4])


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes. Raises EOFError where the file has become shorter."""
    left = size
    while left:
        block = os.read(fd, min(left, _BLOCK))
        if not block:
            raise EOFError
        left -= len(block)
        yield block


def _git_mode(mode: int) -> int:
    if stat.S_ISDIR(mode):
        return FOLDER
    if stat.S_ISLNK(mode):
        return LINK
    return PROGRAM if mode & 0o100 else FILE


def _is_odd(mode: int, usual: dict[str, int]) -> bool:
    return not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != usual[kind_of(_git_mode(mode))]


def _is_too_deep(path: str) -> bool:
    return path.count("/") >= DEEPEST or len(os.fsencode(path)) > _LONGEST


def _is_kept_kind(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _same_kind(known: Seen | int | None, mode: int) -> bool:
    """Whether it was recorded before, as what it is now."""
    return known is not None and isinstance(known, int) == stat.S_ISDIR(mode)
