"""Lets programs inside the sandbox reach the proxy outside it. Standard library only.

Started inside as

    python -I -S proxy_bridge.py SOCKET PORT [ADDRESS PORT TARGET]...

It listens on PORT of the sandbox's own 127.0.0.1 and relays each connection to the unix socket SOCKET,
and on each ADDRESS and PORT, whose connections it has the proxy connect to TARGET. It says `ready` once it
listens. With `--check PORT` instead, it asks whether a proxy answers there.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time

CHUNK = 1 << 16
BACKLOG = 512
CONNECT_SECONDS = 5
LONGEST_ANSWER = 1 << 14
"""Bytes of the proxy's answer to a CONNECT."""
Address = tuple[str, int]


class Flow:
    """One direction. Ends when its source has ended and its sink was told, or when its sink is gone."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.waiting = b""
        self.ended = False
        self.sink_gone = False

    @property
    def reads(self) -> bool:
        return not self.ended and not self.waiting

    def take(self) -> None:
        try:
            data = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # cut off; what had come before is still given
        self.ended = not data
        if not self.sink_gone:
            self.waiting = data
        self.give()

    def give(self) -> None:
        try:
            while self.waiting:
                self.waiting = self.waiting[self.sink.send(self.waiting) :]
            if self.ended:
                self.sink.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            # What still comes is read and dropped: a socket closed with bytes unread would take
            # the other direction's last bytes with it.
            self.waiting, self.sink_gone = b"", True


class Link:
    """A program's connection and the one to the proxy that it is relayed to."""

    def __init__(self, program: socket.socket, proxy: socket.socket, target: str | None) -> None:
        self.program = program
        self.proxy = proxy
        self.up = Flow(program, proxy)
        self.down = Flow(proxy, program)
        self.answer: bytes | None = None
        """What came of the proxy's answer so far, where it is not the program that has asked."""
        if target is not None:
            self.answer = b""
            self.up.waiting = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii")

    @property
    def over(self) -> bool:
        if self.down.sink_gone:
            return True  # nobody is left to read
        return self.down.ended and not self.down.waiting and self.up.ended

    def interests(self, end: socket.socket) -> int:
        out, into = (self.up, self.down) if end is self.program else (self.down, self.up)
        # Until the proxy has agreed, nothing of the program's may follow the request.
        reads = out.reads and not (out is self.up and self.answer is not None)
        return (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if into.waiting else 0)

    def act(self, end: socket.socket, events: int) -> None:
        """Raises OSError or ValueError: the link is to be cut."""
        out, into = (self.up, self.down) if end is self.program else (self.down, self.up)
        if events & selectors.EVENT_WRITE:
            into.give()
        if events & selectors.EVENT_READ:
            if end is self.proxy and self.answer is not None:
                self._hear()
            else:
                out.take()

    def _hear(self) -> None:
        data = self.proxy.recv(CHUNK)
        self.answer = (self.answer or b"") + data
        head, found, rest = self.answer.partition(b"\r\n\r\n")
        if found and head.split(b" ")[1:2] == [b"200"]:
            self.answer = None
            self.down.waiting = rest
            self.down.give()
        elif found or not data or len(self.answer) > LONGEST_ANSWER:
            raise ValueError("refused")


class Bridge:
    def __init__(self, path: str) -> None:
        self._path = path
        self._selector = selectors.DefaultSelector()

    def listen(self, address: Address, target: str | None) -> None:
        """Raises OSError."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, target)

    def serve(self) -> None:
        while True:
            for key, events in self._selector.select():
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end.fileno() < 0:
                    continue  # cut off by the event before
                if isinstance(key.data, Link):
                    self._act(key.data, end, events)
                else:
                    self._accept(end, key.data)

    def _accept(self, listener: socket.socket, target: str | None) -> None:
        try:
            program, _ = listener.accept()
        except OSError:
            time.sleep(0.05)  # no descriptors left, or it has gone again
            return
        proxy = socket.socket(socket.AF_UNIX)
        proxy.settimeout(CONNECT_SECONDS)
        try:
            proxy.connect(self._path)
        except OSError:
            program.close()
            proxy.close()
            return
        link = Link(program, proxy, target)
        for end in (program, proxy):
            end.setblocking(False)
        self._watch(link)

    def _act(self, link: Link, end: socket.socket, events: int) -> None:
        try:
            link.act(end, events)
            over = link.over
        except (OSError, ValueError):
            over = True
        if over:
            for one in (link.program, link.proxy):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(one)
                one.close()
        else:
            self._watch(link)

    def _watch(self, link: Link) -> None:
        watched = self._selector.get_map()
        for end in (link.program, link.proxy):
            events = link.interests(end)
            if end in watched:
                if events:
                    self._selector.modify(end, events, link)
                else:
                    self._selector.unregister(end)
            elif events:
                self._selector.register(end, events, link)


def answers(port: int) -> bool:
    """Whether what listens there is the proxy: it tells a request that names no host what it is."""
    try:
        with socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n")
            return b"Ostro's proxy" in connection.makefile("rb").read(LONGEST_ANSWER)
    except OSError:
        return False


def main(words: list[str]) -> int:
    if words[0] == "--check":
        return 0 if answers(int(words[1])) else 1
    bridge = Bridge(words[0])
    wanted: list[tuple[Address, str | None]] = [(("127.0.0.1", int(words[1])), None)]
    rest = iter(words[2:])
    wanted += [((address, int(port)), target) for address, port, target in zip(rest, rest, rest, strict=True)]
    for address, target in wanted:
        try:
            bridge.listen(address, target)
        except OSError as problem:
            print(f"{address[0]} port {address[1]}: {problem.strerror}", flush=True)
            return 1
    print("ready", flush=True)
    bridge.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
