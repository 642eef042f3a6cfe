"""Cuts long data where its content says so: an edit changes the chunks around it, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from zlib import crc32

LEAST, MEAN, MOST = 4 << 10, 16 << 10, 64 << 10
"""Bytes of a chunk; the mean is what the odds below aim at."""
_SCALE = (1 << 32) // MEAN
_LINES = re.compile(rb"\n+")
_WORDS = re.compile(rb"[\n\0 ,;]+")
_LONG_LINE = 2048


def cut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks that, joined, are the blocks joined. How the data came in blocks makes no difference."""
    rest = b""
    pattern: re.Pattern[bytes] | None = None
    for block in blocks:
        rest += block
        pattern = pattern or _pattern(rest)
        start = 0
        while len(rest) - start > MOST:
            end = _end(rest, start, pattern)
            yield rest[start:end]
            start = end
        rest = rest[start:]
    start = 0
    while start < len(rest):
        end = _end(rest, start, pattern or _LINES)
        yield rest[start:end]
        start = end


def _pattern(data: bytes) -> re.Pattern[bytes]:
    """Where a piece may end: after lines, or after words where lines are long."""
    head = data[:MOST]
    return _LINES if head.count(b"\n") * _LONG_LINE >= len(head) else _WORDS


def _end(data: bytes, start: int, pattern: re.Pattern[bytes]) -> int:
    """The first end of a piece whose checksum is low, for which a long piece has better odds."""
    at, last = start + LEAST, min(start + MOST, len(data))
    for match in pattern.finditer(data, at, last):
        # After the first of a run: no piece of one such byte has a low checksum, so zeros cost nothing.
        end = match.start() + 1
        if crc32(data[at:end]) < (end - at) * _SCALE:
            return end
        at = match.end()
    return last
