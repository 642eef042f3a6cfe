"""What one id stands for: the files, git folders inside them, and what git's form of a tree cannot hold.

files   a tree, as git would have it, with empty folders
gits    the `.git` of each repository inside, whole, by its path
rest    JSON lines: the usual permissions, then every path with others
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from .store import BLOB, TREE, Missing, Store
from .trees import FILE, FOLDER, Entry, decode, encode

USUAL = {"file": 0o644, "program": 0o755, "folder": 0o755}


class Change(NamedTuple):
    """One path in two snapshots; None where it is not there. Folders are paths as well."""

    path: str
    before: Entry | None
    after: Entry | None


class Snapshot:
    """Read from the store as far as it is asked for. Raises Missing."""

    def __init__(self, store: Store, id: bytes) -> None:
        self._store = store
        self._trees: dict[bytes, dict[str, Entry]] = {}
        top = decode(store.get(id))
        if top.keys() != {"files", "gits", "rest"}:
            raise Missing(id.hex())
        self.files, self.gits = top["files"][1], top["gits"][1]
        self._rest = top["rest"][1]
        self._modes: tuple[dict[str, int], dict[str, int]] | None = None

    def tree(self, id: bytes) -> dict[str, Entry]:
        known = self._trees.get(id)
        if known is None:
            known = self._trees[id] = decode(self._store.get(id))
        return known

    def inner_gits(self) -> dict[str, Entry]:
        return {unquoted(name): entry for name, entry in self.tree(self.gits).items()}

    def find(self, path: str) -> Entry | None:
        """The entry of a path among the files, and of nothing below a `.git`."""
        entry: Entry = (FOLDER, self.files)
        for part in path.split("/"):
            if entry[0] != FOLDER:
                return None
            below = self.tree(entry[1]).get(part)
            if below is None:
                return None
            entry = below
        return entry

    def permissions(self, path: str, mode: int) -> int:
        if self._modes is None:
            lines = self._store.get(self._rest).decode("ascii").splitlines()
            odd = {entry["path"]: entry["mode"] for entry in map(json.loads, lines[1:])}
            self._modes = json.loads(lines[0]), odd
        usual, odd = self._modes
        return odd.get(path, usual[kind_of(mode)])

    def odd(self) -> dict[str, int]:
        """The paths whose permissions are not the usual ones."""
        self.permissions("", FOLDER)
        assert self._modes
        return self._modes[1]

    def usual(self) -> dict[str, int]:
        self.permissions("", FOLDER)
        assert self._modes
        return self._modes[0]


def write_snapshot(
    store: Store, files: bytes, gits: dict[str, Entry], usual: dict[str, int], odd: dict[str, int]
) -> bytes:
    lines = [json.dumps(usual, sort_keys=True)]
    lines += [json.dumps({"path": path, "mode": odd[path]}) for path in sorted(odd)]
    quoted_gits = {quoted(path): entry for path, entry in gits.items()}
    return store.put(
        TREE,
        encode(
            {
                "files": (FOLDER, files),
                "gits": (FOLDER, store.put(TREE, encode(quoted_gits))),
                "rest": (FILE, store.put(BLOB, "\n".join([*lines, ""]).encode("ascii"))),
            }
        ),
    )


def file_changes(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    """What differs as git sees it, folders included; parents before what is in them."""
    yield from _changes(before, after, before.files, after.files, "")


def all_changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """The same with the git folders inside, and with every path that differs in its permissions alone."""
    found = {change.path: change for change in file_changes(before, after)}
    gits, new_gits = before.inner_gits(), after.inner_gits()
    for path in sorted(gits.keys() | new_gits.keys()):
        for change in _differing(before, after, path, gits.get(path), new_gits.get(path)):
            found[change.path] = change
    paths = {*before.odd(), *after.odd()}
    if before.usual() != after.usual():
        paths |= {"", *_paths(before, before.files, ""), *gits}
        for path, (mode, id) in gits.items():
            paths |= {*_paths(before, id, path + "/")} if mode == FOLDER else set()
    for path in paths - found.keys():
        old, new = _entry(before, path), _entry(after, path)
        if old and new and before.permissions(path, old[0]) != after.permissions(path, new[0]):
            found[path] = Change(path, old, new)
    return [found[path] for path in sorted(found)]


def kind_of(mode: int) -> str:
    return "folder" if mode == FOLDER else "file" if mode == FILE else "program"


def quoted(path: str) -> str:
    return path.replace("%", "%25").replace("/", "%2F")


def unquoted(name: str) -> str:
    return name.replace("%2F", "/").replace("%25", "%")


def _entry(snapshot: Snapshot, path: str) -> Entry | None:
    if not path:
        return FOLDER, snapshot.files
    if found := snapshot.find(path):
        return found
    for git, entry in snapshot.inner_gits().items():
        if path == git:
            return entry
        if path.startswith(git + "/"):
            for part in path[len(git) + 1 :].split("/"):
                below = snapshot.tree(entry[1]).get(part) if entry[0] == FOLDER else None
                if below is None:
                    return None
                entry = below
            return entry
    return None


def _changes(before: Snapshot, after: Snapshot, old: bytes, new: bytes, prefix: str) -> Iterator[Change]:
    if old == new:
        return
    here = before.tree(old) if old else {}
    there = after.tree(new) if new else {}
    for name in sorted(here.keys() | there.keys()):
        yield from _differing(before, after, prefix + name, here.get(name), there.get(name))


def _differing(
    before: Snapshot, after: Snapshot, path: str, old: Entry | None, new: Entry | None
) -> Iterator[Change]:
    if old == new:
        return
    was_folder, is_folder = bool(old and old[0] == FOLDER), bool(new and new[0] == FOLDER)
    if not (was_folder and is_folder):
        yield Change(path, old, new)
    if was_folder or is_folder:
        yield from _changes(
            before,
            after,
            old[1] if old and was_folder else b"",
            new[1] if new and is_folder else b"",
            path + "/",
        )


def _paths(snapshot: Snapshot, tree: bytes, prefix: str) -> Iterator[str]:
    for name, (mode, id) in snapshot.tree(tree).items():
        yield prefix + name
        if mode == FOLDER:
            yield from _paths(snapshot, id, f"{prefix}{name}/")
