"""Puts files back as a snapshot has them, on open folders: no link that appears meanwhile leads anywhere.

Every file is replaced in one step. Nothing is overwritten or removed that was not recorded before: the caller
records first, and what stands in the way unrecorded stops it before anything is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Sequence

from .access import LOOK, allowed, is_own, permit
from .index import Index, Seen
from .rules import Rules
from .snapshot import Change, Snapshot, all_changes
from .store import Store
from .trees import FOLDER, LINK, Entry
from .walk import OPEN_FOLDER

TEMPORARY = ".ostro-restore-"
GITS_OWN = "/.git/index"
"""Of a repository inside: git rewrites it whenever somebody looks at its status."""


_PROTECTED = "{} is protected inside the sandbox and was not restored."


class Blocked(Exception):
    """One sentence: why nothing, or not all, was restored."""


class Overtaken(Exception):
    """A path that somebody changed after it was recorded; it is as they left it, and others are restored."""


class Restore:
    def __init__(self, store: Store, root: str, rules: Rules, now: Snapshot, target: Snapshot) -> None:
        self._store = store
        self._root = root
        status = os.stat(root)
        with allowed(root, None, status, LOOK):
            self._fds = [os.open(root, OPEN_FOLDER)]
        self._rules = rules
        self._now = now
        self._target = target
        self._names: list[str] = []
        """The folders on the way to the last path; one more of `_fds`, from the top on, are open."""
        self._index = Index([])
        """What the walk before it saw."""
        self._retimed: set[int] = set()
        """Files with several names of which one is gone, or was given its permissions."""
        self._written: set[str] = set()
        """Files that were put, with their permissions."""
        self._loosened: dict[str, int] = {}
        """Folders that were closed to their owner, with the permissions they had."""

    def run(self, index: Index, paths: Sequence[str] | None) -> list[str]:
        """The paths that are different now. Raises Blocked, Overtaken, OSError, Missing."""
        self._index = index
        changes = [c for c in all_changes(self._now, self._target) if is_wanted(c.path, paths)]
        try:
            self._refuse_unrecorded(changes, index)
            self._refuse_protected(changes)
            self._make_way(changes)
            for change in changes:
                if change.after is not None:
                    self._put(change)
            self._remove(changes)
            self._permit(changes)
        except OSError as problem:
            if problem.errno in (errno.EROFS, errno.EBUSY):
                raise Blocked(_PROTECTED.format(problem.filename or "A path")) from None
            raise
        finally:
            self._tighten()
            self._back(0)
            os.close(self._fds[0])
        return [change.path for change in changes if change.path]

    def _refuse_unrecorded(self, changes: list[Change], index: Index) -> None:
        """What is on the disk where something is to be, and in no snapshot."""
        for change in changes:
            if change.after is None:
                continue
            if change.before is None:
                status = self._status(change.path)
                if status is None or (change.after[0] == FOLDER and stat.S_ISDIR(status.st_mode)):
                    continue
                if stat.S_ISFIFO(status.st_mode):
                    raise Blocked(f"{change.path} is a pipe; remove it.")
                # The same path may have been recorded under another kind of parent.
                raise Blocked(f"{change.path} is in the way and not recorded; move it away.")
            if change.before[0] == FOLDER and change.after[0] != FOLDER:
                for folder, (_, names) in index.folders.items():
                    if folder != change.path and not folder.startswith(change.path + "/"):
                        continue
                    if ignored := [name for name, seen in names.items() if seen is None]:
                        raise Blocked(
                            f"{folder}/{ignored[0]}, which is not recorded, is in the way of the file "
                            f"{change.path}; move it away."
                        )

    def _refuse_protected(self, changes: list[Change]) -> None:
        """What is mounted on can be neither replaced nor removed, and what is read-only not be changed."""
        mounts = mounts_below(self._root)
        for change in changes if mounts else ():
            for place, read_only in mounts.items():
                if change.path == place and _replaced(change):
                    raise Blocked(_PROTECTED.format(change.path))
                if read_only and f"{change.path}/".startswith(f"{place}/"):
                    raise Blocked(_PROTECTED.format(change.path))

    def _make_way(self, changes: list[Change]) -> None:
        """Removes what is of another kind than what comes in its place, with all that was recorded in it."""
        turned = [c.path for c in changes if c.before and c.after and _kind(c.before) != _kind(c.after)]
        for change in reversed(changes):
            under = any(change.path == path or change.path.startswith(path + "/") for path in turned)
            if under and change.before is not None:
                self._delete(change, must=True)

    def _put(self, change: Change) -> None:
        path, entry = change.path, change.after
        assert entry is not None
        mode = self._target.permissions(path, entry[0]) if entry[0] != LINK else 0
        if entry[0] == FOLDER:
            if change.before is None or change.before[0] != FOLDER:
                self._make_folder(path)
            return  # its permissions come last: it may be one that cannot be written
        same = change.before and change.before[1] == entry[1] and _kind(change.before) == _kind(entry)
        if same and not mode & stat.S_ISUID:
            return  # permissions alone; this one no file is given that somebody else has written
        folder, name = self._enter(path)
        new = f"{TEMPORARY}{os.urandom(6).hex()}"
        try:
            if entry[0] == LINK:
                os.symlink(self._store.get(entry[1]), os.fsencode(new), dir_fd=folder)
            else:
                fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
                try:
                    self._store.write_to(fd, entry[1])
                    os.fchmod(fd, mode)
                finally:
                    os.close(fd)
            self._require_recorded(change, folder, name)
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
            self._written.add(path)
        except BaseException as problem:
            if isinstance(problem, OSError):
                problem.filename = path
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise

    def _remove(self, changes: list[Change]) -> None:
        gone = [c for c in changes if c.after is None and c.before is not None]
        ignored: set[str] = set()
        if any(change.path.rpartition("/")[2] == ".gitignore" for change in changes):
            # By the rules that hold from now on: such a file may have been there, unrecorded.
            there = [c.path for c in gone if "/.git/" not in f"/{c.path}/" and self._status(c.path)]
            ignored = self._rules.ignored(there)
        for change in reversed(gone):
            if change.path not in ignored:
                self._delete(change)

    def _permit(self, changes: list[Change]) -> None:
        """From the inside out: a folder may be closed even to its owner from then on."""
        wanted = {
            change.path: change.after[0]
            for change in changes
            if change.after is not None and change.after[0] != LINK and change.path not in self._written
        }
        for path in wanted:
            self._enter(path)  # so that no way to one of them has to be opened up later
        modes = {path: self._target.permissions(path, kind) for path, kind in wanted.items()}
        for path, mode in sorted({**self._loosened, **modes}.items(), reverse=True):
            try:
                if wanted.get(path, FOLDER) == FOLDER:
                    self._permit_folder(path, mode)
                else:
                    self._permit_file(path, mode)
            except (FileNotFoundError, NotADirectoryError):
                if path in wanted:
                    raise Overtaken(path) from None  # else it was a folder, and is gone
            self._loosened.pop(path, None)

    def _tighten(self) -> None:
        for path, mode in sorted(self._loosened.items(), reverse=True):
            with contextlib.suppress(OSError):  # the folder is gone
                self._permit_folder(path, mode)
        self._loosened = {}

    # One path.

    def _permit_folder(self, path: str, mode: int) -> None:
        """Another folder that has taken its place gets no more than any command may give it."""
        if not path:
            permit(self._fds[0], mode)
            return
        folder, name = self._enter(path)
        opened = os.open(name, os.O_PATH | OPEN_FOLDER, dir_fd=folder)
        try:
            if stat.S_IMODE(os.fstat(opened).st_mode) != mode:
                permit(opened, mode)
        finally:
            os.close(opened)

    def _permit_file(self, path: str, mode: int) -> None:
        """Of a file whose content stays. Raises Overtaken where what is open by then is another one."""
        folder, name = self._enter(path)
        opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(opened)
            if status.st_ino not in self._retimed and not self._is_recorded(path, status):
                if path.endswith(GITS_OWN):
                    return  # git has written it anew
                raise Overtaken(path)
            if stat.S_IMODE(status.st_mode) != mode:
                permit(opened, mode)
                self._retimed.add(status.st_ino)
        finally:
            os.close(opened)

    def _make_folder(self, path: str) -> None:
        folder, name = self._enter(path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)

    def _delete(self, change: Change, *, must: bool = False) -> None:
        path, entry = change.path, change.before
        assert entry is not None
        try:
            folder, name = self._enter(path)
            self._require_recorded(change, folder, name)
            if entry[0] == FOLDER:
                self._leave(path)
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as problem:
            if problem.errno == errno.ENOTEMPTY and not must:
                return  # what git ignores in it stays
            problem.filename = path
            raise

    def _require_recorded(self, change: Change, folder: int, name: str) -> None:
        """That a file which is to go is still the one that was recorded. Raises Overtaken.

        To restore many files takes a while, in which the user may save one of them.
        """
        if change.path.endswith(GITS_OWN):
            return
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            return  # a folder goes only once it is empty, and no file takes its place before
        if not self._is_recorded(change.path, status):
            raise Overtaken(change.path)
        if status.st_nlink > 1:
            self._retimed.add(status.st_ino)

    def _is_recorded(self, path: str, status: os.stat_result) -> bool:
        seen = self._seen(path)
        if seen is None or (status.st_mode, status.st_size, status.st_ino) != (seen[0], seen[1], seen[4]):
            return False
        # To take one of its names away has set the time of the others anew.
        return status.st_ctime_ns == seen[3] or status.st_ino in self._retimed

    def _seen(self, path: str) -> Seen | None:
        """A file as the walk found it; the `.git` of a repository inside lies beside the folder's names."""
        folder, _, name = path.rpartition("/")
        for where in (folder, f"{folder}/"):
            seen = self._index.folders.get(where, (b"", {}))[1].get(name)
            if isinstance(seen, tuple):
                return seen
        return None

    def _status(self, path: str) -> os.stat_result | None:
        try:
            folder, name = self._enter(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _enter(self, path: str) -> tuple[int, str]:
        """The open folder that holds a path, and the last name. It can be written, and the folders above
        be passed, for as long as this runs, whatever their permissions say."""
        *above, name = path.split("/")
        same = 0
        while same < min(len(above), len(self._names)) and above[same] == self._names[same]:
            same += 1
        self._back(same)
        for part in above[same:]:
            self._loosen(self._fds[-1], "/".join(self._names), LOOK)
            self._fds.append(self._open(self._fds[-1], part, "/".join([*self._names, part])))
            self._names.append(part)
        self._loosen(self._fds[-1], "/".join(self._names), stat.S_IRWXU)
        return self._fds[-1], name

    def _back(self, depth: int) -> None:
        """Nothing deeper stays open."""
        for fd in self._fds[depth + 1 :]:
            os.close(fd)
        del self._fds[depth + 1 :], self._names[depth:]

    def _open(self, folder: int, name: str, path: str) -> int:
        try:
            try:
                opened = os.open(name, OPEN_FOLDER, dir_fd=folder)
            except PermissionError:
                place = os.open(name, os.O_PATH | OPEN_FOLDER, dir_fd=folder)
                try:
                    self._loosen(place, path, LOOK)
                finally:
                    os.close(place)
                opened = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                raise NotADirectoryError(errno.ENOTDIR, "a link is in the way", path) from None
            problem.filename = path
            raise
        self._loosen(opened, path, LOOK)
        return opened

    def _loosen(self, opened: int, path: str, needed: int) -> None:
        status = os.fstat(opened)
        if status.st_mode & needed == needed or not is_own(status):
            return
        self._loosened.setdefault(path, stat.S_IMODE(status.st_mode))
        permit(opened, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)

    def _leave(self, path: str) -> None:
        """Nothing below a folder that is to be removed stays open."""
        parts = path.split("/")
        if self._names[: len(parts)] == parts:
            self._back(len(parts) - 1)


def mounts_below(root: str) -> dict[str, bool]:
    """What is mounted in the tree, relative to it, and whether it is read-only."""
    found: dict[str, bool] = {}
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields = line.split(b" ")
            place = os.fsdecode(re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4]))
            if place.startswith(root.rstrip("/") + "/"):
                found[place[len(root.rstrip("/")) + 1 :]] = b"ro" in fields[5].split(b",")
    return found


def _replaced(change: Change) -> bool:
    before, after = change.before, change.after
    if before is None or after is None:
        return before is not None
    return _kind(before) != _kind(after) or (after[0] != FOLDER and before[1] != after[1])


def _kind(entry: Entry) -> str:
    return "folder" if entry[0] == FOLDER else "link" if entry[0] == LINK else "file"


def is_wanted(path: str, paths: Sequence[str] | None) -> bool:
    return paths is None or any(path == p or path.startswith(p + "/") or p == "." for p in paths)
