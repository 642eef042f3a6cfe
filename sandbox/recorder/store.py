"""Objects by the SHA-1 that git would give them, in files that are written whole or not at all.

One run writes one segment: its objects one after the other, then an index of them. The segment gets its name
when all of it is on the disk, and before anything names an object of it. A process killed earlier leaves a
file without a name that counts; the next one removes it.

What is longer than a chunk is kept as a list of chunks, so that a small edit of a large file, or of a folder
with many entries, adds little.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import sha1

from . import chunks
from .trees import FOLDER, decode

BLOB, TREE = b"blob", b"tree"
_MAGIC = b"ostro store 1\n"
_ENTRY = struct.Struct(">20sBQI")
_END = struct.Struct(">QII8s")
_END_MAGIC = b"complete"
_SUFFIX = ".segment"
_LEVEL = 1
"""Zlib's; the store is written far more often than read."""
_BLOCK = 4 << 20
MOST_SEGMENTS = 24
SMALL = 64 << 20
"""Bytes up to which a segment is merged with others, once there are many."""


class Missing(Exception):
    """The store does not hold this object, or holds a damaged one."""


class Segment:
    """One complete file of objects, mapped for reading. Raises Missing where it is not complete."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.path = os.path.join(folder, name)
        with open(self.path, "rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            if self.size < len(_MAGIC) + _END.size:
                raise Missing(name)
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._index, self.count, checksum, magic = _END.unpack_from(self._data, self.size - _END.size)
        end = self._index + self.count * _ENTRY.size
        if magic != _END_MAGIC or end != self.size - _END.size:
            raise Missing(name)
        if zlib.crc32(self._data[self._index : end]) != checksum:
            raise Missing(name)

    def find(self, id: bytes) -> tuple[int, bytes] | None:
        """Kind and packed bytes of an object."""
        n = bisect_left(range(self.count), id, key=self._id)
        if n == self.count or self._id(n) != id:
            return None
        _, kind, offset, length = self.entry(n)
        return kind, self._data[offset : offset + length]

    def __contains__(self, id: bytes) -> bool:
        n = bisect_left(range(self.count), id, key=self._id)
        return n < self.count and self._id(n) == id

    def entry(self, n: int) -> tuple[bytes, int, int, int]:
        return _ENTRY.unpack_from(self._data, self._index + n * _ENTRY.size)

    def packed(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def _id(self, n: int) -> bytes:
        at = self._index + n * _ENTRY.size
        return self._data[at : at + 20]


class Writer:
    """A segment in the making."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._name = f"{time.time_ns():020d}-{os.urandom(4).hex()}"
        self._path = os.path.join(folder, f"new-{self._name}")
        self._file = open(self._path, "xb", buffering=1 << 20)  # noqa: SIM115 - closed by `commit` or `abandon`
        self._file.write(_MAGIC)
        self._at = len(_MAGIC)
        self.entries: dict[bytes, tuple[int, int, int]] = {}

    def add(self, id: bytes, kind: int, packed: bytes) -> None:
        self._file.write(packed)
        self.entries[id] = (kind, self._at, len(packed))
        self._at += len(packed)

    def packed(self, offset: int, length: int) -> bytes:
        self._file.flush()
        with open(self._path, "rb") as file:
            return os.pread(file.fileno(), length, offset)

    def commit(self) -> Segment:
        index = b"".join(_ENTRY.pack(id, *self.entries[id]) for id in sorted(self.entries))
        self._file.write(index)
        self._file.write(_END.pack(self._at, len(self.entries), zlib.crc32(index), _END_MAGIC))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._path, os.path.join(self._folder, self._name + _SUFFIX))
        sync_folder(self._folder)
        return Segment(self._folder, self._name + _SUFFIX)

    def abandon(self) -> None:
        with contextlib.suppress(OSError):  # writes what is buffered, for which there may be no room
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


class Store:
    """Open for one run, which holds its lock; others may have it open at the same time."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._objects = os.path.join(folder, "objects")
        os.makedirs(self._objects, exist_ok=True)
        self._lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._alone():
            self._sweep()
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._segments = self._open()
        self._writer: Writer | None = None

    def has(self, id: bytes) -> bool:
        return (self._writer is not None and id in self._writer.entries) or any(
            id in segment for segment in self._segments
        )

    def get(self, id: bytes) -> bytes:
        """The whole object, checked against its id. Raises Missing."""
        kind, data = self._unpacked(id)
        name = TREE if kind & 1 else BLOB
        for _ in range(kind >> 1):
            data = b"".join(self._unpacked(chunk)[1] for chunk in ids_in(data))
        if sha1(b"%s %d\0" % (name, len(data)) + data).digest() != id:
            raise Missing(id.hex())
        return data

    def write_to(self, file: int, id: bytes) -> None:
        """Writes a blob that need not fit into memory to a new file, with holes where it is zeros.

        Raises Missing, after which the file is worth nothing.
        """
        kind, data = self._unpacked(id)
        if kind >> 1 == 0:
            _write(file, self.get(id), 0)
            return
        for _ in range((kind >> 1) - 1):
            data = b"".join(self._unpacked(chunk)[1] for chunk in ids_in(data))
        size = 0
        for chunk in ids_in(data):
            part = self._unpacked(chunk)[1]
            if part.count(0) < len(part):
                _write(file, part, size)
            size += len(part)
        os.truncate(file, size)
        # How long it is comes first in what its id is made of, so that it is read once more.
        digest = sha1(b"blob %d\0" % size)
        for at in range(0, size, _BLOCK):
            digest.update(os.pread(file, _BLOCK, at))
        if digest.digest() != id:
            raise Missing(id.hex())

    def put(self, name: bytes, data: bytes) -> bytes:
        """Keeps a blob or a tree; its id."""
        id = sha1(b"%s %d\0" % (name, len(data)) + data).digest()
        if not self.has(id):
            self._add(id, name == TREE, data)
        return id

    def put_blocks(self, size: int, blocks: Iterable[bytes]) -> bytes:
        """Keeps a blob that need not fit into memory. Its blocks have to have `size` bytes together."""
        digest = sha1(b"blob %d\0" % size)

        def hashed() -> Iterator[bytes]:
            for block in blocks:
                digest.update(block)
                yield block

        listed = b"".join(self.put(BLOB, chunk) for chunk in chunks.cut(hashed()))
        id = digest.digest()
        if not self.has(id):
            self._add(id, False, listed, level=1)
        return id

    def commit(self) -> None:
        """What was put is on the disk from here on."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            self._segments.append(writer.commit())
        except BaseException:
            writer.abandon()
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
        os.close(self._lock)

    # Tidying up.

    def merge(self) -> None:
        """Makes one segment of the small ones, where there are many and nobody else uses the store."""
        small = [segment for segment in self._segments if segment.size <= SMALL]
        if len(small) > MOST_SEGMENTS and self._alone():
            self._rewrite(small, None)

    def keep_only(self, roots: Iterable[bytes]) -> bool:
        """Drops every object that none of these leads to; False where somebody else uses the store."""
        if not self._alone():
            return False
        kept: set[bytes] = set()
        for root in roots:
            if self.has(root):
                self._mark(root, kept)
        self._rewrite(self._segments, kept)
        return True

    def _rewrite(self, old: list[Segment], kept: set[bytes] | None) -> None:
        writer = Writer(self._objects)
        try:
            for segment in old:
                for n in range(segment.count):
                    id, kind, offset, length = segment.entry(n)
                    if id not in writer.entries and (kept is None or id in kept):
                        writer.add(id, kind, segment.packed(offset, length))
            new = writer.commit()
        except BaseException:
            writer.abandon()
            raise
        for segment in old:
            os.unlink(segment.path)
        self._segments = [new, *(segment for segment in self._segments if segment not in old)]

    def _mark(self, root: bytes, kept: set[bytes]) -> None:
        waiting = [(root, True)]
        while waiting:
            id, is_tree = waiting.pop()
            if id in kept:
                continue
            try:
                kind, data = self._unpacked(id)
                kept.add(id)
                for level in range(kind >> 1, 0, -1):
                    kept.update(ids_in(data))
                    if level > 1 or is_tree:
                        data = b"".join(self._unpacked(chunk)[1] for chunk in ids_in(data))
            except Missing:
                continue  # an older fault; what is left can still be used
            if is_tree:
                waiting += [(below, mode == FOLDER) for mode, below in decode(data).values()]

    def _add(self, id: bytes, is_tree: bool, data: bytes, *, level: int = 0) -> None:
        while len(data) > chunks.MOST:
            data = b"".join(self.put(BLOB, chunk) for chunk in chunks.cut([data]))
            level += 1
        if self._writer is None:
            self._writer = Writer(self._objects)
        self._writer.add(id, level << 1 | is_tree, zlib.compress(data, _LEVEL))

    def _unpacked(self, id: bytes) -> tuple[int, bytes]:
        if self._writer and id in self._writer.entries:
            kind, offset, length = self._writer.entries[id]
            return kind, zlib.decompress(self._writer.packed(offset, length))
        for segment in self._segments:
            if found := segment.find(id):
                try:
                    return found[0], zlib.decompress(found[1])
                except zlib.error:
                    break
        raise Missing(id.hex())

    def _open(self) -> list[Segment]:
        segments = []
        for name in sorted(os.listdir(self._objects)):
            if name.endswith(_SUFFIX):
                try:
                    segments.append(Segment(self._objects, name))
                except Missing:
                    continue
        return segments

    def _alone(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _sweep(self) -> None:
        """Removes what killed processes were writing: whoever writes holds the lock."""
        for name in os.listdir(self._objects):
            if name.startswith("new-"):
                os.unlink(os.path.join(self._objects, name))


def _write(file: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(file, left, at)
        left, at = left[done:], at + done


def ids_in(data: bytes) -> list[bytes]:
    return [data[n : n + 20] for n in range(0, len(data), 20)]


def sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
