"""Lets git write a patch: what differs is laid out for it as loose objects, for as long as it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from .rules import GitFailed
from .snapshot import Change, Snapshot, file_changes
from .store import BLOB, TREE, Store
from .trees import FOLDER, Entry, encode

_OPTIONS = (
    "diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames",
    "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip


class Patch:
    """From one snapshot to another. `git` is the command with its options, `git_dirs` the store's own empty
    repositories: one that shows files as text where it can, one that shows all of them as binary."""

    def __init__(self, store: Store, git: Sequence[str], git_dirs: tuple[str, str], scratch: str) -> None:
        self._store = store
        self._git = list(git)
        self._plain, self._binary = git_dirs
        self._scratch = scratch
        self._objects = ""

    def write(self, before: Snapshot, after: Snapshot) -> bytes:
        """The form that `git apply` takes, in UTF-8. Raises GitFailed, OSError, Missing."""
        changes = [c for c in file_changes(before, after) if _is_file(c.before) or _is_file(c.after)]
        if not changes:
            return b""
        self._objects = tempfile.mkdtemp(prefix="patch-", dir=self._scratch)
        try:
            return self._written(changes)
        finally:
            shutil.rmtree(self._objects, ignore_errors=True)

    def _written(self, changes: list[Change]) -> bytes:
        sides: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for change in changes:
            for side, entry in zip(sides, (change.before, change.after), strict=True):
                if entry is not None and entry[0] != FOLDER:
                    self._lay_out(BLOB, self._store.get(entry[1]))
                    _place(side, change.path.split("/"), entry)
        trees = [self._tree(side).hex() for side in sides]
        raw = self._diff(self._plain, *trees)
        if _is_utf8(raw):
            return raw
        parts = []
        for path in sorted({change.path for change in changes}):
            part = self._diff(self._plain, *trees, path)
            # As a binary patch any content is plain ASCII.
            quoted = ("-c", "core.quotePath=true")
            parts.append(part if _is_utf8(part) else self._diff(self._binary, *trees, path, options=quoted))
        return b"".join(parts)

    def _diff(self, git_dir: str, a: str, b: str, *paths: str, options: Sequence[str] = ()) -> bytes:
        env = {**os.environ, "GIT_DIR": git_dir, "GIT_OBJECT_DIRECTORY": self._objects}
        argv = [*self._git, *options, *_OPTIONS, a, b, "--", *paths]
        try:
            # Not in the tree: git would read its attributes there, which say nothing here and may be pipes.
            done = subprocess.run(
                argv, cwd=self._objects, env=env, stdin=subprocess.DEVNULL, capture_output=True
            )
        except FileNotFoundError:
            raise GitFailed("There is no `git` on PATH; install git.") from None
        if done.returncode != 0:
            why = os.fsdecode(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
            raise GitFailed(f"`git diff` failed: {why[-1]}.")
        return done.stdout

    def _tree(self, side: dict[str, Any]) -> bytes:
        entries = {
            name: (FOLDER, self._tree(below)) if isinstance(below, dict) else below
            for name, below in side.items()
        }
        return self._lay_out(TREE, encode(entries))

    def _lay_out(self, name: bytes, data: bytes) -> bytes:
        whole = b"%s %d\0" % (name, len(data)) + data
        id = sha1(whole).hexdigest()
        folder = os.path.join(self._objects, id[:2])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, id[2:]), "wb") as file:
            file.write(zlib.compress(whole, 1))
        return bytes.fromhex(id)


def _place(side: dict[str, Any], parts: list[str], entry: Entry) -> None:
    for part in parts[:-1]:
        side = side.setdefault(part, {})
    side[parts[-1]] = entry


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry[0] != FOLDER


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
