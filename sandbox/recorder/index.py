"""What the last walk saw, so that the next one reads only what has changed since. A cache: it may be lost."""

from __future__ import annotations

import marshal
import os

from .losses import Watched
from .store import Store
from .trees import Entry

FORM = "ostro index 1"
Seen = tuple[int, int, int, int, int, bytes]
"""Mode, size, times of the last change of content and of anything, inode; and the id."""
Names = dict[str, Seen | int | None]
"""Of one folder: files, folders (their mode), and None for what is ignored."""


class Index:
    def __init__(self, rules: list[tuple[int, ...]]) -> None:
        self.rules = rules
        """Of the lists of excluded names that hold for the whole tree."""
        self.session = ""
        """Whose walk it was. What it recorded once stays recorded, whatever the rules say later."""
        self.root = b""
        self.indexes: dict[str, tuple[int, ...]] = {}
        """Of each repository's list of tracked files, by its path."""
        self.folders: dict[str, tuple[bytes, Names]] = {}
        self.gits: dict[str, Entry] = {}
        self.watched: Watched | None = None
        self.unreadable: list[str] = []
        self.too_deep: list[str] = []
        """Both are what the user has been told of."""

    @classmethod
    def load(cls, path: str, store: Store) -> Index:
        """An empty one where there is none, or where the store does not hold what it tells of."""
        try:
            with open(path, "rb") as file:
                form, fields = marshal.loads(file.read())
        except (OSError, ValueError, EOFError, TypeError):
            return cls([])
        index = cls([])
        if form == FORM and store.has(fields["root"]):
            vars(index).update(fields)
        return index

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
