"""File tools as one would write them first, by paths: whoever attacks ours has to get through these."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write(path: Path, content: str = "evil") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def replace(path: Path, content: str = "evil") -> None:
    """In one step, by a new file that takes the old one's mode."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(content)
    shutil.copymode(path, new)
    new.rename(path)


def checked(root: Path, path: str, act: Callable[[str], object], between: Callable[[], None]) -> object:
    """What `act` gives for a path that has been found to lie below the root, `between` the two."""
    real = os.path.realpath(root / path)
    if not real.startswith(f"{root}/"):
        raise PermissionError(f"{path} leaves {root}")
    between()
    return act(os.path.join(root, path))


def remove(folder: Path) -> None:
    """All that is in a folder, and the folder."""
    folder.chmod(0o700)
    for entry in folder.iterdir():
        if entry.is_dir():
            remove(entry)
        else:
            entry.unlink()
    if not folder.is_symlink():
        folder.rmdir()


def count(folder: str) -> int:
    """All that is in a folder and in those in it."""
    with os.scandir(folder) as entries:
        return sum(1 + (count(entry.path) if entry.is_dir() else 0) for entry in entries)
