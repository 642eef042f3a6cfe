"""Moving bytes between a program inside and what it has reached: as they come, or as one HTTP request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import h11

from sandbox.allowed import Target, shown
from sandbox.outbound import Reached
from sandbox.proxy_request import HEAD_BYTES, Refused

CHUNK = 1 << 16
IDLE = 600.0
"""Seconds without a byte either way, after which a connection is closed."""
_HOP_BY_HOP = {
    b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization", b"proxy-authenticate", b"te",
    b"trailer", b"upgrade",
}  # fmt: skip
"""Between two neighbours only; Transfer-Encoding is h11's."""


@dataclass
class Traffic:
    """Counts bytes, and moves the end of the idle time with each."""

    idle: asyncio.Timeout
    up: int = 0
    down: int = 0

    def moved(self, *, up: int = 0, down: int = 0) -> None:
        self.up += up
        self.down += down
        self.idle.reschedule(asyncio.get_running_loop().time() + IDLE)


@dataclass(frozen=True)
class Inside:
    """The program's end of a connection."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def tunnel(inside: Inside, reached: Reached, traffic: Traffic) -> None:
    """Answers a CONNECT and relays until both sides have ended, or one went away."""
    inside.http.next_event()  # the end of a request without a body
    connected = h11.Response(status_code=200, headers=[], reason=b"Connected")
    inside.writer.write(inside.http.send(connected) or b"")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(inside.reader, reached.writer, lambda size: traffic.moved(up=size)))
            group.create_task(_pump(reached.reader, inside.writer, lambda size: traffic.moved(down=size)))
    except* OSError:
        pass


async def forward(
    request: h11.Request, target: Target, path: str, inside: Inside, reached: Reached, traffic: Traffic
) -> None:
    """Sends one plain request on, written anew, and its answer back. Raises Refused."""
    outside = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    head = outside.send(_rewritten(request, target, path, reached)) or b""
    reached.writer.write(head)
    traffic.moved(up=len(head))
    refusal: Refused | None = None
    try:
        async with asyncio.TaskGroup() as group:
            body = group.create_task(_body(inside, outside, reached, traffic))
            await _response(inside, outside, reached, traffic)
            body.cancel()
    except* Refused as problems:
        refusal = next(p for p in problems.exceptions if isinstance(p, Refused))
    except* (OSError, h11.ProtocolError):
        refusal = Refused(502, f"{target} went away before its answer was whole, or answered no HTTP.")
    if refusal is not None:
        raise refusal


def _rewritten(request: h11.Request, target: Target, path: str, reached: Reached) -> h11.Request:
    """The request as it goes out: the Host is the URL's, whatever the header said."""
    host = shown(target.host) if target.port == 80 else str(target)
    headers = [(b"Host", host.encode("ascii")), (b"Connection", b"close")]
    if reached.authorization:
        headers.append((b"Proxy-Authorization", reached.authorization.encode("ascii")))
    headers += [(name, value) for name, value in _end_to_end(request) if name.lower() != b"host"]
    where = f"http://{host}{path}" if reached.absolute else path
    return h11.Request(method=request.method, target=where.encode("ascii"), headers=headers)


def _end_to_end(message: h11.Request | h11.Response) -> list[tuple[bytes, bytes]]:
    named = [value for name, value in message.headers if name == b"connection"]
    dropped = _HOP_BY_HOP | {word.strip().lower() for value in named for word in value.split(b",")}
    return [(name, value) for name, value in message.headers.raw_items() if name.lower() not in dropped]


async def _body(inside: Inside, outside: h11.Connection, reached: Reached, traffic: Traffic) -> None:
    while True:
        try:
            event = inside.http.next_event()
        except h11.RemoteProtocolError as problem:
            raise Refused(400, f"The request's body cannot be read: {problem}.") from None
        if event is h11.NEED_DATA:
            inside.http.receive_data(await inside.reader.read(CHUNK))
            continue
        if isinstance(event, h11.Data):
            data = outside.send(event) or b""
        elif isinstance(event, h11.EndOfMessage):
            data = outside.send(h11.EndOfMessage()) or b""
        else:
            return  # the next request waits in vain, or the program has closed
        reached.writer.write(data)
        await reached.writer.drain()
        traffic.moved(up=len(data))


async def _response(inside: Inside, outside: h11.Connection, reached: Reached, traffic: Traffic) -> None:
    while True:
        event = outside.next_event()
        if event is h11.NEED_DATA:
            came = await reached.reader.read(CHUNK)
            traffic.moved(down=len(came))
            outside.receive_data(came)
            continue
        data = b""
        match event:
            case h11.InformationalResponse():
                data = inside.http.send(event)
            case h11.Response():
                headers = [*_end_to_end(event), (b"Connection", b"close")]
                data = inside.http.send(
                    h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
                )
            case h11.Data():
                data = inside.http.send(event)
            case h11.EndOfMessage():
                data = inside.http.send(h11.EndOfMessage())
        inside.writer.write(data or b"")
        await inside.writer.drain()
        if isinstance(event, h11.EndOfMessage):
            return


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, moved: Callable[[int], None]
) -> None:
    """Moves bytes until the source ends, and tells the other side that it has."""
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
        moved(len(data))
    with contextlib.suppress(OSError, NotImplementedError):  # TLS to a proxy has no half an end
        sink.write_eof()
