"""Notes which of the ignored files go away, or lose what they held at the start: for good."""

from __future__ import annotations

import os
import stat

from .rules import is_cache

MOST_WATCHED = 50_000
"""Ignored files that are looked at one by one; a folder beyond is noticed when all of it goes."""
MOST_NAMED = 10
MOST_IN_FOLDER = 3
"""Lost files of one folder that are named; of more, the folder with their number."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Watched = dict[str, tuple[int, int, bool]]
"""By path: size, time of the last change, and whether it was there at the start. A folder's path ends in a
slash, and stands for all in it."""


class Losses:
    """`before` is what was watched last time, None at the start."""

    def __init__(self, before: Watched | None) -> None:
        self._before = before or {}
        self._first = before is None
        self.watched: Watched = {}

    def see(self, folder: int, name: str, path: str, status: os.stat_result) -> None:
        """An ignored file or folder, as the walk meets it."""
        if is_cache(name):
            return
        if not stat.S_ISDIR(status.st_mode):
            self._note(path, status)
            return
        whole = path + "/"
        if whole in self._before:
            self.watched[whole] = self._before[whole]
            return
        room = MOST_WATCHED - len(self.watched)
        found: list[tuple[str, os.stat_result]] = []
        if self._look(folder, name, path, found, room):
            for below, status_below in found:
                self._note(below, status_below)
        else:
            self.watched[whole] = (0, 0, self._first)

    def lost(self) -> list[str]:
        """Sentences for the user; what they name is not named again."""
        gone = [path for path in self._before if path not in self.watched and not self._inside(path)]
        changed = []
        for path, (size, time, _) in self.watched.items():
            old = self._before.get(path)
            if old and old[2] and (size, time) != old[:2]:
                changed.append(path)
                self.watched[path] = (size, time, False)
            elif old:
                self.watched[path] = (size, time, old[2])
        said = []
        if gone:
            said.append(f"Deleted, and not recorded because git ignores it: {_named(gone)}.")
        if changed:
            said.append(f"Changed, and not recorded because git ignores it: {_named(changed)}.")
        return said

    def _note(self, path: str, status: os.stat_result) -> None:
        self.watched[path] = (status.st_size, status.st_mtime_ns, self._first)

    def _keep(self, folder: str) -> None:
        """What cannot be looked at has not gone for that."""
        below = {path: seen for path, seen in self._before.items() if path.startswith(f"{folder}/")}
        self.watched.update(below)

    def _inside(self, path: str) -> bool:
        """Whether it is in a folder that is watched as a whole by now."""
        while path := path.rstrip("/").rpartition("/")[0]:
            if path + "/" in self.watched:
                return True
        return False

    def _look(
        self, folder: int, name: str, path: str, found: list[tuple[str, os.stat_result]], room: int
    ) -> bool:
        """Collects the files below; False where there are more than there is room for."""
        try:
            below = os.open(name, _FOLDER, dir_fd=folder)
        except PermissionError:
            self._keep(path)
            return True
        except OSError:
            return True
        try:
            with os.scandir(below) as entries:
                for entry in entries:
                    if len(found) >= room:
                        return False
                    if is_cache(entry.name):
                        continue
                    status = entry.stat(follow_symlinks=False)
                    inner = f"{path}/{entry.name}"
                    if not stat.S_ISDIR(status.st_mode):
                        found.append((inner, status))
                    elif not self._look(below, entry.name, inner, found, room):
                        return False
        except PermissionError:
            self._keep(path)
        except OSError:
            pass  # what vanishes while it is looked at is missed next time
        finally:
            os.close(below)
        return True


def _named(paths: list[str]) -> str:
    """Single files by name, many of one folder by the folder."""
    by_top: dict[str, list[str]] = {}
    for path in sorted(paths):
        by_top.setdefault(path.partition("/")[0], []).append(path)
    named = []
    for top, inside in by_top.items():
        if len(inside) <= MOST_IN_FOLDER:
            named += inside
        else:
            named.append(f"{os.path.commonpath(inside) or top}/ ({len(inside)} files)")
    more = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
