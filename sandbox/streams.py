"""The three standard streams of a command, from the host's side."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator

from sandbox.capture import Capture
from sandbox.errors import SandboxError

CHUNK = 1 << 16


class OutputPipe:
    """The read side of a command's output, fed into a capture by the event loop."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Once the command holds the other end."""
        os.close(self.write_end)
        self.write_end = -1
        asyncio.get_running_loop().add_reader(self._read_end, self._take)

    async def finish(self) -> None:
        """Takes what is left; a process that escaped the kill may hold the pipe open, so not for ever."""
        if self._read_end < 0:
            return
        if self.write_end >= 0:
            os.close(self.write_end)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1.0)
            asyncio.get_running_loop().remove_reader(self._read_end)
        os.close(self._read_end)
        self._read_end = -1
        self.capture.end()

    def _take(self) -> None:
        try:
            data = os.read(self._read_end, CHUNK)
        except BlockingIOError:
            return
        if data:
            self.capture.feed(data)
            return
        asyncio.get_running_loop().remove_reader(self._read_end)
        self._ended.set()


@contextlib.contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """A file with this content, to be read from its start. Raises SandboxError where it finds no room."""
    fd = os.memfd_create("ostro")
    try:
        try:
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(data)
        except OSError as problem:
            raise SandboxError(f"The sandbox could not be given its work ({problem.strerror}).") from None
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def standard_input(data: bytes | None) -> Iterator[int]:
    """A file holding `data`: unlike a pipe it needs nobody to feed it. Without any, /dev/null."""
    if data is not None:
        with in_memory(data) as fd:
            yield fd
        return
    fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


class Conversation:
    """Pipes to and from a program that is spoken to: `reader` is its stdout, `writer` its stdin."""

    def __init__(self, line_bytes: int) -> None:
        self.reader = asyncio.StreamReader(limit=line_bytes)
        self.writer: asyncio.StreamWriter
        self._stdin, self._to = os.pipe()
        self._from, self._stdout = os.pipe()
        self._null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._transport: asyncio.ReadTransport | None = None
        self._writing: asyncio.WriteTransport | None = None

    @property
    def streams(self) -> tuple[int, int, int]:
        """For the program."""
        return self._stdin, self._stdout, self._null

    async def start(self) -> None:
        """Once the program holds its ends."""
        self._close_theirs()
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self.reader)
        # From here on each pipe is the transport's to close, also where this is cancelled while it is made.
        source, self._from = os.fdopen(self._from, "rb", 0), -1
        self._transport, _ = await loop.connect_read_pipe(lambda: protocol, source)
        flow = asyncio.streams.FlowControlMixin()
        sink, self._to = os.fdopen(self._to, "wb", 0), -1
        self._writing, _ = await loop.connect_write_pipe(lambda: flow, sink)
        self.writer = asyncio.StreamWriter(self._writing, flow, None, loop)

    def close(self) -> None:
        self._close_theirs()
        if self._transport is not None:
            self._transport.close()
        if self._writing is not None and not self._writing.is_closing():
            self._writing.abort()
        for fd in (self._from, self._to):
            if fd >= 0:
                os.close(fd)
        self._from = self._to = -1

    def _close_theirs(self) -> None:
        for fd in (self._stdin, self._stdout, self._null):
            if fd >= 0:
                os.close(fd)
        self._stdin = self._stdout = self._null = -1
