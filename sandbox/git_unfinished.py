"""What a rebase, a cherry-pick or an `am` that has stopped will do when it goes on: run programs, or write
where git would not.

Git keeps that in files of its folder, which it replaces as it goes on, so that nothing can be bound there.
They are read as git reads them, in doubt more strictly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from sandbox.git_folders import head, is_folder

_LONGEST = 1 << 20
"""Bytes of a file that are looked at."""
_RUNS = re.compile(rb"^[^\S\n]*(?:exec|x)(?=[\s\0]|\Z)[^\n]*", re.MULTILINE)
"""A line of a to-do list. Git takes no other abbreviation, and no other spelling."""
_STRATEGY = re.compile(rb"strategy\s*=([^\n]*)", re.IGNORECASE)
_OWN_STRATEGIES = {b"", b"ort", b"recursive", b"resolve", b"octopus", b"ours", b"subtree"}
"""Of any other, `git-merge-NAME` is run; with a slash in the name, that is a file of the workspace."""
_PATCHING = re.compile(
    rb"(?:\s*'(?:-[Cp]\d+|--reject|--ignore-(?:whitespace|space-change)"
    rb"|--(?:whitespace|directory|exclude|include)=[^']*)')*\s*"
)
"""What `git am` hands on to `git apply`, which knows an option that writes a file anywhere."""


def _programs(todo: bytes) -> Iterable[bytes]:
    return _RUNS.findall(todo)


def _strategy(name: bytes) -> Iterable[bytes]:
    return {name.strip()} - _OWN_STRATEGIES


def _strategies(settings: bytes) -> Iterable[bytes]:
    return {name.strip() for name in _STRATEGY.findall(settings)} - _OWN_STRATEGIES


def _options(words: bytes) -> Iterable[bytes]:
    return () if _PATCHING.fullmatch(words) else (words,)


_READ: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "rebase-merge/git-rebase-todo": _programs,
    "rebase-merge/strategy": _strategy,
    "sequencer/opts": _strategies,
    "rebase-apply/apply-opt": _options,
}


def orders(folder: Path) -> frozenset[tuple[str, bytes]]:
    """Each such thing in a git folder: the file, relative to it, and the words. Raises OSError."""
    found: set[tuple[str, bytes]] = set()
    for name, read in _READ.items():
        place = folder / name
        if not is_folder(place.parent):  # what a link leads to is no matter of this folder
            continue
        content = head(place)
        found |= {(name, words.strip()) for words in read(content)}
        if len(content) >= _LONGEST:
            # What follows is not seen: whatever is done to the file makes it another.
            found.add((name, str(place.lstat().st_ctime_ns).encode()))
    return frozenset(found)
