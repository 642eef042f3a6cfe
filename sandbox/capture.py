"""Bounded memory for unbounded output: the head and the tail of a stream of bytes."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class Capture:
    """Keeps at most `limit` bytes: all of a short stream, of a long one its first and last half.

    `listener` gets the text as it comes, up to `limit` bytes, then one line saying that the rest
    is not shown live: a flood must not drown whoever watches.
    """

    def __init__(self, limit: int, listener: Callable[[str], None] | None = None) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._listener = listener
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.total = 0

    def feed(self, data: bytes) -> None:
        self._tell(data)
        self.total += len(data)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Trimmed late, so that a flood costs one copy per half limit rather than one per chunk.
        if len(self._tail) > 2 * self._tail_room:
            del self._tail[: len(self._tail) - self._tail_room]

    def end(self) -> None:
        if self._listener is None or self.total > self._limit:
            return
        rest = self._decoder.decode(b"", final=True)
        if rest:
            self._listener(rest)

    @property
    def cut(self) -> bool:
        return self.total > self._limit

    def bytes(self) -> bytes:
        """Everything, where nothing was cut; else the head and the tail without a mark between."""
        return bytes(self._head) + self._last()

    def text(self) -> str:
        if not self.cut:
            return self.bytes().decode("utf-8", "replace")
        tail = self._last()
        left_out = self.total - len(self._head) - len(tail)
        head_text = self._head.decode("utf-8", "replace")
        return f"{head_text}\n[... {left_out} bytes left out ...]\n{tail.decode('utf-8', 'replace')}"

    def _last(self) -> bytes:
        return bytes(self._tail[max(0, len(self._tail) - self._tail_room) :])

    def _tell(self, data: bytes) -> None:
        if self._listener is None or self.total > self._limit:
            return
        shown = data[: self._limit - self.total]
        text = self._decoder.decode(shown)
        if text:
            self._listener(text)
        if len(shown) < len(data):
            self._listener("\n[... the rest is not shown live ...]\n")
