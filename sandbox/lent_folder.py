"""Ostro's own small files in a folder that a program inside can write too: no link in it leads anywhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder(top: Path, path: str) -> None:
    """With those above it. Raises OSError where something else stands there."""
    with _folder(top, path):
        pass


def write_once(top: Path, path: str, data: bytes) -> None:
    """In one step, and only where it differs: another session may be reading. Raises OSError."""
    parent, _, name = path.rpartition("/")
    with _folder(top, parent) as folder:
        if _content(folder, name) == data:
            return
        new = f"{name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        with os.fdopen(os.open(new, _NEW, 0o644, dir_fd=folder), "wb") as file:
            file.write(data)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)


def touch(top: Path, name: str) -> None:
    """Raises OSError."""
    with _folder(top, "") as folder:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            os.utime(fd)
        finally:
            os.close(fd)


def _content(folder: int, name: str) -> bytes | None:
    try:
        fd = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return None  # what stands there is replaced, be it a link
    with os.fdopen(fd, "rb") as file:
        return file.read()


@contextlib.contextmanager
def _folder(top: Path, path: str) -> Iterator[int]:
    fd = os.open(top, _FOLDER)
    try:
        for name in path.split("/") if path else []:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=fd)
            below = os.open(name, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)
