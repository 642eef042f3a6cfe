"""Copies a workspace from inside a sandbox that can write nothing but the copy. Standard library only.

Started as `python -I -S tree_copy.py SOURCE TARGET NAME...`; the named entries of SOURCE become
empty folders (something is bound on them). Links are copied as links, hard links as files of their
own, sockets, pipes and devices not at all. Times are kept, so that bytecode files stay valid.

The tree is in use meanwhile (an editor's swap file, a `git fetch`): what vanishes on the way is left out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator

AT_ONCE = 64 << 20
"""Bytes that one call copies."""
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
        _take_over(entry.path, into)
    elif stat.S_ISREG(entry.stat().st_mode):
        _copy_file(entry.path, into)


def _copy_file(source: str, into: str) -> None:
    with open(source, "rb") as reader, open(into, "xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), SHARE_BLOCKS, reader.fileno())
        except OSError:
            _copy_content(reader.fileno(), writer.fileno())
    _take_over(source, into)


def _copy_content(reader: int, writer: int) -> None:
    """Of a file with holes, what lies between them: filled, a small file could fill the disk."""
    size = os.fstat(reader).st_size
    for begin, end in _written(reader, size):
        os.lseek(writer, begin, os.SEEK_SET)
        while begin < end and (sent := os.sendfile(writer, reader, begin, min(end - begin, AT_ONCE))):
            begin += sent
    os.ftruncate(writer, min(size, os.fstat(reader).st_size))


def _written(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where its content begins and ends, piece by piece."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, begin, os.SEEK_HOLE)
        except OSError as problem:
            if problem.errno == errno.ENXIO:  # no more of it, or it was cut meanwhile
                return
            raise
        yield begin, min(end, size)


def _take_over(source: str, into: str) -> None:
    """Attributes, permissions and times. Not the set-user-id bit: that nobody inside may set, and all other
    permissions would be refused with it."""
    status = os.stat(source)
    for name in os.listxattr(source):
        with contextlib.suppress(OSError):  # those of the system, or a file system without any
            os.setxattr(into, name, os.getxattr(source, name))
    os.chmod(into, stat.S_IMODE(status.st_mode) & ~stat.S_ISUID)
    os.utime(into, ns=(status.st_atime_ns, status.st_mtime_ns))


if __name__ == "__main__":
    try:
        copy_tree(sys.argv[1], sys.argv[2], frozenset(sys.argv[3:]))
    except RecursionError:
        sys.exit("its folders lie too deep within each other")
    except OSError as problem:
        if problem.errno != errno.ENAMETOOLONG:
            raise
        sys.exit("its folders lie too deep within each other")
