"""Looks into what its owner has closed to himself: nothing here has the rights of root, also not as root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

LOOK = stat.S_IRUSR | stat.S_IXUSR
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def allowed(name: str, folder: int | None, status: os.stat_result, needed: int) -> Iterator[bool]:
    """For as long as this lasts the owner has the permissions `needed`; whether any had to be given.

    Others' files and folders stay as they are, and so does what is not the one of `status` any more. So does
    a set-user-id program: by the time it is closed again, it may have been written, and have lost that bit.
    """
    as_its_owner = stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_ISUID
    if status.st_mode & needed == needed or as_its_owner or not is_own(status):
        yield False
        return
    place = os.open(name, _PLACE, dir_fd=folder)
    try:
        if not os.path.samestat(os.fstat(place), status):
            yield False
            return
        permit(place, stat.S_IMODE(status.st_mode) | needed)
        try:
            yield True
        finally:
            permit(place, stat.S_IMODE(status.st_mode))
    finally:
        os.close(place)


def is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid()


def permit(opened: int, mode: int) -> None:
    """Sets the permissions of what is open, be it only as a place."""
    os.chmod(f"/proc/self/fd/{opened}", mode)
