"""A web server of the host, and a proxy with programs that speak to its socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sandbox.allowed import Allowed
from sandbox.proxy import Connection, Proxy


@dataclass
class Origin:
    """`/away` leads to `elsewhere`; every other path answers with what was asked and sent."""

    port: int
    elsewhere: str = ""
    heard: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """Of each request: method, path, headers in lower case, body."""


@contextmanager
def origin() -> Iterator[Origin]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self._body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            about.heard.append((self.command, self.path, headers, body))
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", about.elsewhere)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            answer = f"{self.command} {self.path} {len(body)}".encode()
            self.send_response(200)
            if self.path == "/chunked":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer), answer))
                return
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_POST = do_HEAD = do_GET

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a request that breaks off is what some tests send

    server = Server(("127.0.0.1", 0), Handler)
    about = Origin(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield about
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Proxied:
    """A proxy that listens on a socket in a folder of its own, and what it has told."""

    def __init__(self, folder: Path, *allowed: str) -> None:
        self.socket = folder / "proxy.sock"
        self.told: list[Connection] = []
        self.proxy = Proxy(Allowed.parse(allowed), self.told.append)

    async def __aenter__(self) -> Proxied:
        await self.proxy.listen(self.socket)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.proxy.close()

    async def say(self, data: bytes, *, end: bool = False, seconds: float = 10) -> bytes:
        """Sends `data` on a connection and gives all that comes until the proxy closes it."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            async with asyncio.timeout(seconds):
                return await reader.read()
        finally:
            writer.close()

    async def log(self, count: int = 1) -> list[Connection]:
        """What was told, once so many connections are over."""
        for _ in range(1000):
            if len(self.told) >= count:
                break
            await asyncio.sleep(0.01)
        assert len(self.told) == count
        return self.told
