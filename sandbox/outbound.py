"""The proxy's way out: a name is resolved once, each address checked, and the very address connected to.

Where the user's own environment names a proxy (HTTPS_PROXY, a company's), the way goes through that one,
which then resolves the name itself: the address cannot be checked, and the log says so.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
import urllib.request
from dataclasses import dataclass, field
from ipaddress import ip_address
from socket import SOCK_STREAM, gaierror
from urllib.parse import unquote, urlsplit

import h11

from sandbox.allowed import LOCALHOST, Address, Allowed, Target, needs_no_check
from sandbox.errors import SandboxError

CONNECT_WITHIN = 20.0
"""Seconds for each address, and for the answer of a proxy."""
ANSWER_BYTES = 1 << 14
"""Of the header of a proxy's answer."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Closed(Exception):
    """The name leads only to addresses that may not be connected to."""

    def __init__(self, address: Address, kind: str) -> None:
        super().__init__(f"it leads to {address}, {kind}")
        self.address = address


class Unreachable(Exception):
    """Nobody there, or no way there; the text says which."""


@dataclass(frozen=True)
class Reached:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: Address | None
    """None where a proxy of the user's resolved the name."""
    why: str = ""
    """What the log is to say of the way."""
    absolute: bool = False
    """Whether plain requests keep their whole URL: the other end is a proxy."""
    authorization: str | None = field(default=None, repr=False)
    """For the proxy at the other end."""


@dataclass(frozen=True)
class CallersProxy:
    """A proxy that the user's environment names."""

    host: str
    port: int
    tls: bool
    authorization: str | None = field(default=None, repr=False)
    """Header value; neither shown nor logged."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> CallersProxy:
        """Raises SandboxError; the sentence holds nothing of the URL but its scheme."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host:
            raise SandboxError(
                "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY of your environment names a proxy of a kind that "
                f"--allow-network cannot go through ({parts.scheme or 'no URL'}); name one of http:// or https://."
            )
        tls = parts.scheme == "https"
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
        return cls(host, port or (443 if tls else 80), tls, authorization)


class Outbound:
    """Opens connections to allowed targets."""

    def __init__(self, allowed: Allowed) -> None:
        """Reads the proxies of the process's environment. Raises SandboxError where one cannot be used."""
        self._allowed = allowed
        self._named = urllib.request.getproxies_environment()
        urls = {scheme: self._named.get(scheme) or self._named.get("all") for scheme in ("http", "https")}
        self.proxies = {scheme: CallersProxy.parse(url) for scheme, url in urls.items() if url}

    async def tunnel(self, target: Target) -> Reached:
        """A connection that is the target's own, for TLS. Raises Closed or Unreachable."""
        proxy = self._proxy_for(target, "https")
        if proxy is None:
            return await self._direct(target)
        reader, writer = await self._to(proxy)
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await _connect_through(reader, writer, target, proxy)
        except BaseException as problem:
            writer.close()
            if isinstance(problem, OSError | EOFError | h11.ProtocolError | asyncio.LimitOverrunError):
                raise Unreachable(f"the proxy of your environment, {proxy}, did not answer well") from None
            raise
        return Reached(reader, writer, None, _unchecked(proxy))

    async def plain(self, target: Target) -> Reached:
        """A connection for one plain HTTP request. Raises Closed or Unreachable."""
        proxy = self._proxy_for(target, "http")
        if proxy is None:
            return await self._direct(target)
        reader, writer = await self._to(proxy)
        return Reached(reader, writer, None, _unchecked(proxy), True, proxy.authorization)

    def _proxy_for(self, target: Target, scheme: str) -> CallersProxy | None:
        proxy = self.proxies.get(scheme)
        # What is this machine here would be that machine there.
        if proxy is None or needs_no_check(target.host):
            return None
        return None if urllib.request.proxy_bypass(str(target), self._named) else proxy

    async def _to(self, proxy: CallersProxy) -> Streams:
        context = ssl.create_default_context() if proxy.tls else None
        try:
            return await _open(proxy.host, proxy.port, context)
        except OSError as problem:
            raise Unreachable(f"the proxy of your environment, {proxy}: {_reason(problem)}") from None

    async def _direct(self, target: Target) -> Reached:
        addresses = await _resolve(target)
        closed: Closed | None = None
        problem: OSError | None = None
        for address in addresses:
            if kind := self._allowed.closed(address, target.port):
                closed = closed or Closed(address, kind)
                continue
            try:
                return Reached(*await _open(str(address), target.port), address)
            except OSError as error:
                problem = error
        if problem is not None:
            raise Unreachable(_reason(problem))
        raise closed or Unreachable("the name has no address")


async def _resolve(target: Target) -> list[Address]:
    if not isinstance(target.host, str):
        return [target.host]
    if target.host == LOCALHOST:
        return [ip_address("127.0.0.1"), ip_address("::1")]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            found = await loop.getaddrinfo(target.host, target.port, type=SOCK_STREAM)
    except TimeoutError:
        raise Unreachable("no answer to the question for its address") from None
    except gaierror as problem:
        raise Unreachable(problem.strerror or "the name has no address") from None
    except (OSError, UnicodeError):
        raise Unreachable("the name has no address") from None
    return list(dict.fromkeys(ip_address(info[4][0]) for info in found))


async def _open(host: str, port: int, context: ssl.SSLContext | None = None) -> Streams:
    async with asyncio.timeout(CONNECT_WITHIN):
        return await asyncio.open_connection(host, port, ssl=context)


async def _connect_through(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, proxy: CallersProxy
) -> None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_BYTES)
    headers = [("Host", str(target))]
    if proxy.authorization:
        headers.append(("Proxy-Authorization", proxy.authorization))
    request = h11.Request(method="CONNECT", target=str(target), headers=headers)
    writer.write(connection.send(request) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    # To the end of the header and no byte further: what follows is the target's.
    connection.receive_data(await reader.readuntil(b"\r\n\r\n"))
    answer = connection.next_event()
    status = answer.status_code if isinstance(answer, h11.Response) else 0
    if not 200 <= status < 300:
        raise Unreachable(f"the proxy of your environment, {proxy}, answered {status}")


def _unchecked(proxy: CallersProxy) -> str:
    return f"through the proxy of your environment, {proxy}; the address is not checked"


def _reason(problem: OSError) -> str:
    if isinstance(problem, TimeoutError):
        return f"no answer within {CONNECT_WITHIN:.0f} s"
    # asyncio's own words repeat the address, and some errors (TLS) have no number.
    return os.strerror(problem.errno) if problem.errno else problem.strerror or type(problem).__name__


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection whatever state it is in."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    writer.transport.abort()
