"""What a program asks the proxy for, refused unless it is plainly right.

h11 parses; looked at before is only what it reads more kindly than another reader might.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from http import HTTPStatus

import h11

from sandbox.allowed import BadHost, Target, parse_target

HEAD_BYTES = 1 << 16
HEAD_WITHIN = 30.0
"""Seconds for the whole header of a request."""
LINGER_BYTES = 1 << 20
"""Of a refused request that are still read, so that the refusal arrives."""
NOT_A_REQUEST = "This is Ostro's proxy; it takes CONNECT HOST:PORT and requests for http://HOST/... only."

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)")
_UNCLEAR = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n|\r\n[ \t]")
"""NUL, half of a line's end, and a header that goes on in the next line: read differently by many."""
_FRAMING = (b"transfer-encoding", b"content-length")


class Refused(Exception):
    """An answer of our own instead of the target's."""

    def __init__(self, status: int, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason


async def read_request(reader: asyncio.StreamReader, inside: h11.Connection) -> h11.Request:
    """The header of the one request of a connection. Raises Refused, EOFError, TimeoutError or OSError."""
    try:
        async with asyncio.timeout(HEAD_WITHIN):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refused(431, f"The header of a request has at most {HEAD_BYTES} bytes.") from None
    if _UNCLEAR.search(head):
        raise Refused(400, "The header holds a NUL, a bare CR or LF, or a folded line.")
    inside.receive_data(head)
    try:
        request = inside.next_event()
    except h11.RemoteProtocolError as problem:
        raise Refused(400, f"The request cannot be read: {problem}.") from None
    if not isinstance(request, h11.Request):
        raise Refused(400, NOT_A_REQUEST)
    framing = {name for name, _ in request.headers if name in _FRAMING}
    if len(framing) > 1:
        raise Refused(400, "A request has Content-Length or Transfer-Encoding, not both.")
    if framing and request.method == b"CONNECT":
        raise Refused(400, "CONNECT has no body.")
    return request


def wanted(request: h11.Request) -> tuple[Target, str | None]:
    """Where a request is to go, and the path of a plain one; None for CONNECT. Raises Refused."""
    text = request.target.decode("latin-1")
    try:
        if request.method == b"CONNECT":
            return parse_target(text), None
        url = _URL.fullmatch(text)
        if url is None or url["scheme"].lower() != "http":
            raise Refused(400, NOT_A_REQUEST)
        rest = url["rest"]
        return parse_target(url["authority"], 80), rest if rest.startswith("/") else f"/{rest}"
    except BadHost as problem:
        raise Refused(400, str(problem)) from None


async def answer(
    refusal: Refused, inside: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Says no, and reads on for a moment: what is closed with bytes unread loses what was sent."""
    if inside.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = f"{refusal}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    response = h11.Response(
        status_code=refusal.status,
        headers=[*headers, ("Connection", "close"), ("Proxy-Agent", "ostro")],
        reason=(refusal.reason or HTTPStatus(refusal.status).phrase).encode("ascii"),
    )
    with contextlib.suppress(OSError, TimeoutError):
        writer.write(inside.send(response) or b"")
        with contextlib.suppress(h11.LocalProtocolError):  # the answer to HEAD has no body
            writer.write(inside.send(h11.Data(data=body)) or b"")
        writer.write_eof()
        async with asyncio.timeout(2):
            await writer.drain()
            left = LINGER_BYTES
            while left > 0 and (data := await reader.read(HEAD_BYTES)):
                left -= len(data)
