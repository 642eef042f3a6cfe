"""A server that speaks the model hub's protocol for one file: a HEAD that names it, a GET with ranges."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 8192


@dataclass
class Hub:
    content: bytes
    stop_after: int | None = None
    """Close the connection after this many bytes of one answer."""
    seconds_a_block: float = 0.0
    ranges: bool = True
    status: int = 302
    url: str = ""
    starts: list[int] = field(default_factory=list)
    """Where each GET began."""


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._redirect()

        def do_GET(self) -> None:
            if self.path != "/storage":
                self._redirect()
                return
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if hub.ranges else 0
            hub.starts.append(start)
            self._send(hub.content[start:], start)

        def _redirect(self) -> None:
            self.send_response(hub.status)
            self.send_header("Location", f"{hub.url}/storage")
            self.send_header("X-Linked-Size", str(len(hub.content)))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(hub.content).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, body: bytes, start: int) -> None:
            total = len(hub.content)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.end_headers()
            body = body[: hub.stop_after]
            for at in range(0, len(body), BLOCK):
                self.wfile.write(body[at : at + BLOCK])
                time.sleep(hub.seconds_a_block)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the test's output is pytest's."""

    return Handler
