"""The way to the network: a proxy outside the sandbox that lets through what `--allow-network` names.

It speaks HTTP on a unix socket: CONNECT for TLS, and plain requests with a whole URL, one a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h11

from sandbox.allowed import Allowed, Target
from sandbox.outbound import Closed, Outbound, Reached, Unreachable, close
from sandbox.proxy_request import HEAD_BYTES, Refused, answer, read_request, wanted
from sandbox.relaying import Inside, Traffic, forward, tunnel

MOST_CONNECTIONS = 256
BACKLOG = 512


@dataclass(frozen=True)
class Connection:
    """What the log keeps of one connection."""

    host: str
    port: int
    address: str | None
    """What was connected to, or refused; None where nothing was, or by a proxy of the user's."""
    allowed: bool
    why: str
    """Why it was not allowed or did not come about, or what is to be known of the way; may be empty."""
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0

    @property
    def target(self) -> str:
        return _with_port(self.host, self.port)

    @property
    def needs(self) -> str:
        """What `--allow-network` has to name for it: an address that a name led to, by itself."""
        return _with_port(self.address or self.host, self.port)


class Proxy:
    """Serves from `listen` until `close`."""

    def __init__(self, allowed: Allowed, tell: Callable[[Connection], None]) -> None:
        """`tell` is called once for each connection, when it is over.

        Raises SandboxError where the environment names a proxy that cannot be gone through.
        """
        self.allowed = allowed
        self.outbound = Outbound(allowed)
        self._tell = tell
        self._server: asyncio.Server | None = None
        self._folder = -1
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path) -> None:
        """Raises OSError."""
        # By way of the open folder: the path of a socket may have 107 bytes only.
        self._folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(f"/proc/self/fd/{self._folder}/{path.name}")
            path.chmod(0o600)
            self._server = await asyncio.start_unix_server(
                self._accepted, sock=listener, backlog=BACKLOG, limit=HEAD_BYTES
            )
        except BaseException:
            listener.close()
            os.close(self._folder)
            raise

    async def close(self) -> None:
        """Ends every connection; each has been told of by then. Harmless when called again."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        os.close(self._folder)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._serve(Inside(h11.Connection(h11.SERVER, HEAD_BYTES), reader, writer))
        except asyncio.CancelledError:
            pass  # by `close`: asyncio takes a stream's task that was cancelled for a mistake
        finally:
            await close(writer)
            self._serving.discard(task)

    async def _serve(self, inside: Inside) -> None:
        # What goes wrong beyond a refusal: it went away, or what comes can no longer be read.
        with contextlib.suppress(OSError, TimeoutError, EOFError, h11.ProtocolError):
            try:
                if len(self._serving) > MOST_CONNECTIONS:
                    raise Refused(503, f"More than {MOST_CONNECTIONS} connections at once; close some.")
                request = await read_request(inside.reader, inside.http)
                await self._go(request, *wanted(request), inside)
            except Refused as refusal:
                await answer(refusal, inside.http, inside.reader, inside.writer)

    async def _go(self, request: h11.Request, target: Target, path: str | None, inside: Inside) -> None:
        """Connects and relays; tells of it, however it ends. Raises Refused."""
        began = time.monotonic()
        about = Connection(str(target.host), target.port, None, False, "not on the list")
        traffic = Traffic(asyncio.timeout(None))
        try:
            if not self.allowed.names(target):
                raise _denied(target, "is not on the list of --allow-network")
            about = replace(about, allowed=True, why="")
            try:
                reached = await (self.outbound.tunnel if path is None else self.outbound.plain)(target)
            except Closed as problem:
                about = replace(about, allowed=False, why=str(problem), address=str(problem.address))
                named = Target(problem.address, target.port)
                raise _denied(target, f"is refused, because {problem}", named) from None
            except Unreachable as problem:
                about = replace(about, why=f"not reached: {problem}")
                raise Refused(502, f"{target} cannot be reached: {problem}.") from None
            about = replace(about, address=reached.address and str(reached.address), why=reached.why)
            await _relay(request, target, path, inside, reached, traffic)
        finally:
            seconds = round(time.monotonic() - began, 3)
            self._tell(replace(about, bytes_up=traffic.up, bytes_down=traffic.down, seconds=seconds))


async def _relay(
    request: h11.Request, target: Target, path: str | None, inside: Inside, reached: Reached, traffic: Traffic
) -> None:
    try:
        async with traffic.idle:
            traffic.moved()
            if path is None:
                await tunnel(inside, reached, traffic)
            else:
                await forward(request, target, path, inside, reached, traffic)
    finally:
        await close(reached.writer)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _denied(target: Target, why: str, named: Target | None = None) -> Refused:
    flag = f"--allow-network {named or target}"
    # In the reason too, because most programs show it and not the body.
    return Refused(403, f"{target} {why}; {flag} would allow it.", f"Denied, {flag} would allow it")
