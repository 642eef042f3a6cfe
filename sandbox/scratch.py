"""Private folders on the host: one for the files of this session, one for what outlives it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from sandbox.errors import SandboxError


class Scratch:
    """A folder of mode 0700 that vanishes on `close`; one left by a killed process goes at the next start.

    It lies in the user's cache rather than in /tmp, which is often memory, and so that a copy of the
    workspace can share its blocks where the file system can do that.
    """

    def __init__(self, root: Path) -> None:
        parent = _private(Path(platformdirs.user_cache_dir("ostro", appauthor=False)) / "scratch", root)
        _sweep(parent)
        # Locked before it has the name that the sweep of another process looks for.
        new = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
        self._lock = os.open(new / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = new.rename(parent / new.name.replace("new-", "s-", 1))

    def folder(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.path))

    def close(self) -> None:
        if self._lock < 0:
            return
        remove_tree(self.path)
        os.close(self._lock)
        self._lock = -1


def store_folder(root: Path) -> Path:
    """Where the snapshots of the repository at `root` are kept, from session to session."""
    key = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
    return _private(Path(platformdirs.user_state_dir("ostro", appauthor=False)) / "snapshots" / key, root)


def remove_tree(path: Path) -> None:
    """Removes a tree without following links, also where a program took its own permissions away.

    However deep it is: no path is as long as a command can make one, by going down step by step, so each
    folder is moved up to the top before it is emptied. What cannot be removed is left.
    """
    try:
        top = _entered(None, str(path))
    except OSError:
        return
    try:
        waiting = _without_files(top)
        while waiting:
            waiting += _removed(top, waiting.pop())
    finally:
        os.close(top)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _removed(top: int, name: str) -> list[str]:
    """Removes a folder in an open one; what folders it had, which lie beside it now."""
    moved = []
    with contextlib.suppress(OSError):
        folder = _entered(top, name)
        try:
            for inner in _without_files(folder):
                with contextlib.suppress(OSError):
                    # Who cannot write a folder cannot move it either.
                    os.close(_entered(folder, inner))
                    new = f".ostro-{os.urandom(8).hex()}"
                    os.rename(inner, new, src_dir_fd=folder, dst_dir_fd=top)
                    moved.append(new)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)
    return moved


def _without_files(folder: int) -> list[str]:
    """Removes all but the folders in an open one; their names."""
    folders = []
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            folders.append(name)
        except OSError:
            continue
    return folders


def _entered(above: int | None, name: str) -> int:
    """Opens a folder, no link, after it was made one that can be read and changed. Raises OSError."""
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        itself = f"/proc/self/fd/{place}"
        if os.fstat(place).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(itself, stat.S_IRWXU)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _private(folder: Path, root: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = Path(os.path.realpath(folder))
        if real.is_relative_to(root):
            raise SandboxError(
                f"Ostro's own files would lie in the workspace ({real}); set XDG_STATE_HOME and "
                "XDG_CACHE_HOME to folders outside it."
            )
        # Fails where the folder is another user's: whoever owns it could plant what we later run on.
        os.chmod(real, 0o700)
        return real
    except OSError as problem:
        raise SandboxError(
            f"Ostro cannot use its own folder {folder} ({problem.strerror}); set XDG_STATE_HOME and "
            "XDG_CACHE_HOME to folders you can write."
        ) from None


def _sweep(parent: Path) -> None:
    """Removes scratch folders whose owner is gone: nobody holds their lock."""
    for folder in parent.glob("s-*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            # Whatever a command left in it, no later session is to end over it.
            with contextlib.suppress(Exception):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
        finally:
            os.close(lock)
