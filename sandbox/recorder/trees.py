"""Folders in the form that git gives them: names with a mode and an id each, in git's order."""

from __future__ import annotations

from os import fsdecode, fsencode

FILE, PROGRAM, LINK, FOLDER = 0o100644, 0o100755, 0o120000, 0o040000
Entry = tuple[int, bytes]
"""Git's mode and the id."""


def encode(entries: dict[str, Entry]) -> bytes:
    """The content of a tree object. Git sorts a folder as if its name ended in a slash."""
    named = [(fsencode(name), mode, id) for name, (mode, id) in entries.items()]
    named.sort(key=lambda entry: entry[0] + b"/" if entry[1] == FOLDER else entry[0])
    return b"".join(b"%o %s\0%s" % (mode, name, id) for name, mode, id in named)


def decode(data: bytes) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        entries[fsdecode(data[space + 1 : end])] = (int(data[at:space], 8), data[end + 1 : end + 21])
        at = end + 21
    return entries
