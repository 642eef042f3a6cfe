"""What the last walk saw, so that the next one reads only what has changed since. A cache: it may be lost."""

from __future__ import annotations

import marshal
import os
from dataclasses import dataclass, field

from .losses import Watched
from .store import Store
from .trees import Entry

FORM = "ostro index 1"
Seen = tuple[int, int, int, int, int, bytes]
"""Mode, size, times of the last change of content and of anything, inode; and the id."""
Names = dict[str, Seen | int | None]
"""Of one folder: files, folders (their mode), and None for what is ignored."""


@dataclass
class Index:
    session: str = ""
    """Whose walk it was. What was recorded once in a session stays recorded, whatever the rules say later."""
    root: bytes = b""
    rules: list[tuple[int, ...]] = field(default_factory=list)
    """Of the lists of excluded names that hold for the whole tree."""
    indexes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of each repository's list of tracked files, by its path."""
    folders: dict[str, tuple[bytes, Names]] = field(default_factory=dict)
    gits: dict[str, Entry] = field(default_factory=dict)
    watched: Watched | None = None
    unreadable: list[str] = field(default_factory=list)
    """What the user has been told of."""

    @classmethod
    def load(cls, path: str, store: Store) -> Index:
        """An empty one where there is none, or where the store does not hold what it tells of."""
        try:
            with open(path, "rb") as file:
                form, fields = marshal.loads(file.read())
            index = cls(**fields) if form == FORM else cls()
        except (OSError, ValueError, EOFError, TypeError):
            return cls()
        return index if store.has(index.root) else cls()

    def save(self, path: str) -> None:
        new = f"{path}.{os.urandom(4).hex()}"
        try:
            with open(new, "xb") as file:
                file.write(marshal.dumps((FORM, vars(self))))
            os.rename(new, path)
        except BaseException:
            if os.path.exists(new):
                os.unlink(new)
            raise


def signature(path: str) -> tuple[int, ...]:
    """Differs once the file has changed; empty where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
