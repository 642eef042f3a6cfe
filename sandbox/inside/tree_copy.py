"""Copies a workspace from inside a sandbox that can write nothing but the copy. Standard library only.

Started as `python -I -S tree_copy.py SOURCE TARGET NAME...`; the named entries of SOURCE become
empty folders (something is bound on them). Links are copied as links, hard links as files of their
own, sockets, pipes and devices not at all. Times are kept, so that bytecode files stay valid.

The tree is in use meanwhile (an editor's swap file, a `git fetch`): what vanishes on the way is left out.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import sys

SHARE_BLOCKS = 0x40049409
"""The FICLONE ioctl."""


def copy_tree(source: str, target: str, bare: frozenset[str] = frozenset()) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            into = os.path.join(target, entry.name)
            if entry.name in bare:
                os.mkdir(into)
                continue
            try:
                _copy(entry, into)
            except FileNotFoundError:  # ours is the copy alone, so it is the source that went away
                continue
            except PermissionError as problem:
                print(f"not copied: {entry.path}: {problem.strerror}", file=sys.stderr)


def _copy(entry: os.DirEntry[str], into: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), into)
    elif entry.is_dir():
        os.mkdir(into)
        copy_tree(entry.path, into)
        shutil.copystat(entry.path, into)
    elif stat.S_ISREG(entry.stat().st_mode):
        _copy_file(entry.path, into)


def _copy_file(source: str, into: str) -> None:
    with open(source, "rb") as reader, open(into, "xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), SHARE_BLOCKS, reader.fileno())
        except OSError:
            shutil.copyfileobj(reader, writer, 1 << 20)
    shutil.copystat(source, into)


if __name__ == "__main__":
    copy_tree(sys.argv[1], sys.argv[2], frozenset(sys.argv[3:]))
