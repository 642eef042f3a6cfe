"""The bridge, tried as a process on the host's loopback: it needs no sandbox to do its work."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox.inside import proxy_bridge
from sandbox.toolchain import own_python

from .proxying import Origin, Proxied, origin


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def bridge(path: Path, *words: str) -> AsyncIterator[int]:
    """A bridge to the socket at `path`, and the port it listens on."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(own_python()), "-I", "-S", proxy_bridge.__file__, str(path), str(port), *words,
        stdout=asyncio.subprocess.PIPE, env={},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield port
        assert process.returncode is None, "the bridge has died"
    finally:
        process.kill()
        await process.wait()


async def say(port: int, data: bytes, *, end: bool = False, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""  # closed with something of ours unread
    finally:
        writer.close()


@pytest.fixture
def web() -> Iterator[Origin]:
    with origin() as about:
        yield about


async def check(port: int) -> int:
    process = await asyncio.create_subprocess_exec(
        str(own_python()), "-I", "-S", proxy_bridge.__file__, "--check", str(port)
    )
    return await process.wait()


async def test_a_request_reaches_the_proxy_and_its_answer_the_program(tmp_path: Path, web: Origin) -> None:
    async with Proxied(tmp_path, f"127.0.0.1:{web.port}") as proxied, bridge(proxied.socket) as port:
        assert await check(port) == 0
        request = f"GET http://127.0.0.1:{web.port}/x HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert (await say(port, request)).endswith(b"GET /x 0")
        big = f"POST http://127.0.0.1:{web.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
        assert (await say(port, big.encode() + b"x" * 3_000_000)).endswith(b"POST / 3000000")
        refused = await say(port, b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" + b"y" * 500_000)
        assert refused.startswith(b"HTTP/1.1 403 ") and refused.endswith(b"would allow it.\n")


async def test_the_check_tells_a_proxy_from_anything_else(web: Origin) -> None:
    assert await check(web.port) == 1
    assert await check(free_port()) == 1


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"that was all")
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_of_the_host_is_there_under_its_own_number(tmp_path: Path, host: str) -> None:
    server = await asyncio.start_server(echo, host, 0)
    port = server.sockets[0].getsockname()[1]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    inside = free_port(host)
    words = (host, str(inside), target)
    async with server, Proxied(tmp_path, target) as proxied, bridge(proxied.socket, *words):
        # Each direction ends on its own, and many connections at once do not mix.
        data = [bytes([65 + i]) * 200_000 for i in range(40)]
        answers = await asyncio.gather(*(say(inside, one, end=True, host=host) for one in data))
        assert answers == [one + b"that was all" for one in data]
        assert {told.bytes_up for told in await proxied.log(40)} == {200_000}


async def test_a_port_that_the_proxy_refuses_is_closed_at_once(tmp_path: Path) -> None:
    inside = free_port()
    async with (
        Proxied(tmp_path) as proxied,
        bridge(proxied.socket, "127.0.0.1", str(inside), "127.0.0.1:9999"),
    ):
        assert await say(inside, b"hello") == b""
        (told,) = await proxied.log()
        assert not told.allowed


async def test_without_a_proxy_connections_are_closed(tmp_path: Path) -> None:
    async with bridge(tmp_path / "nobody.sock") as port:
        assert await say(port, b"hello") == b""
        assert await check(port) == 1


async def test_what_goes_away_takes_nothing_else_with_it(tmp_path: Path, web: Origin) -> None:
    async with Proxied(tmp_path, f"127.0.0.1:{web.port}") as proxied, bridge(proxied.socket) as port:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.sendall(os.urandom(100))
                # Reset instead of closed.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        request = f"GET http://127.0.0.1:{web.port}/x HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert (await say(port, request)).endswith(b"GET /x 0")


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            str(own_python()), "-I", "-S", proxy_bridge.__file__, str(tmp_path / "s"), str(port),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
    assert (process.returncode, said) == (1, f"127.0.0.1 port {port}: Address already in use\n".encode())
