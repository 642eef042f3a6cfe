"""What git's object stores held when a session began, kept by hard links.

A command may write to them, since it may commit; so it may delete them too, with all that nobody has pushed.
Git never changes an object in place, so that a second name costs no room and keeps what the first one had.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

MOST_OBJECTS = 100_000
"""Files of one object store; one with more is not kept, for looking through it would take too long."""
KEPT_DAYS = 30
"""So long a name is kept that git's own has left."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def keep(root: Path, git_folders: Iterable[str], into: Path) -> dict[str, Path]:
    """Gives each object of these git folders (relative to `root`) a second name below `into`.

    Where the objects of each can be found; a folder on another file system, of another user, or too full is
    left out. Nothing is followed: neither a link nor a folder that is swapped for one.
    """
    kept: dict[str, Path] = {}
    for path in git_folders:
        place = into / quote(path, safe="")
        try:
            with _opened(str(root / path / "objects")) as objects:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                _forget(place)
                if _link_all(objects, place):
                    kept[path] = place
        except OSError:
            continue
    return kept


def _link_all(objects: int, place: Path) -> bool:
    linked = 0
    for name in _folders(objects):
        with _opened(name, objects) as source:
            (place / name).mkdir(mode=0o700, exist_ok=True)
            with _opened(str(place / name)) as target:
                for file in _files(source):
                    linked += 1
                    if linked > MOST_OBJECTS:
                        return False
                    try:
                        os.link(file, file, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                    except FileExistsError:
                        continue
                    except FileNotFoundError:  # a temporary one, that has gone
                        continue
                    except OSError as problem:
                        if problem.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                            return False
                        raise
    return True


def _forget(place: Path) -> None:
    """Drops what git itself has dropped long ago: ours is its last name, and has been for so long."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for folder in place.iterdir():
        for file in folder.iterdir():
            status = file.lstat()
            if status.st_nlink == 1 and status.st_ctime < oldest:
                file.unlink()


def _folders(objects: int) -> Iterator[str]:
    with os.scandir(objects) as entries:
        yield from (
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and (entry.name == "pack" or len(entry.name) == 2)
        )


def _files(folder: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if entry.is_file(follow_symlinks=False))


@contextmanager
def _opened(path: str, folder: int | None = None) -> Iterator[int]:
    fd = os.open(path, _FOLDER, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)
