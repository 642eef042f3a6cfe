"""`--output-dir`: the files of a finished run, in the folder that was there when it began.

The folder may lie in the repository, where the run's commands can put links, pipes and other folders in its
place. So it is opened before any of them runs, and each file is made anew in it and then given its name:
nothing that lies there is followed or written to. Written after the end, it is no part of its own patch.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from agent.ending import EnvironmentProblem

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OutputFolder:
    """Made by `open`; to be closed."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: Path) -> OutputFolder:
        """Makes it where it is missing. Raises EnvironmentProblem."""
        path = path.absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path, os.open(path, _FOLDER))
            if not os.listdir(folder._fd):
                # In a repository it is no work of the user's: nothing to commit, or in the way of an undo.
                folder._write(".gitignore", b"*\n")
            return folder
        except OSError as error:
            raise EnvironmentProblem(f"--output-dir {path} cannot be made: {_why(path, error)}.") from error

    def write(self, files: dict[str, bytes]) -> str | None:
        """Writes them all. A sentence where that failed, or where the folder lies elsewhere by now."""
        try:
            for name, data in files.items():
                self._write(name, data)
        except OSError as error:
            return f"{self.path} cannot be written ({error.strerror})."
        if not self._in_place():
            return (
                f"{self.path} is not the folder it was when the run began: that one holds what was written."
            )
        return None

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, name: str, data: bytes) -> None:
        new = f".ostro-{secrets.token_hex(8)}"
        fd = os.open(new, _ANEW, 0o666, dir_fd=self._fd)
        try:
            with open(fd, "wb") as file:
                file.write(data)
            os.replace(new, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=self._fd)
            raise

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.lstat(self.path))
        except OSError:
            return False


def _why(path: Path, error: OSError) -> str:
    """What is wrong with it, and what to do."""
    if os.path.islink(path):
        return "it is a link; name the folder itself"
    for place in (path, *path.parents):
        if os.path.lexists(place):
            if os.path.isdir(place):
                break
            what = "it" if place == path else str(place)
            return f"{what} is a file; name a folder, or one that is not there yet"
    return f"{error.strerror}; name a folder in which you may write"
