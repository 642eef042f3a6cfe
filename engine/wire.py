"""What crosses the socket between an engine process and its clients: framing, hello, errors.

A frame is a big-endian 32-bit length and that many bytes of UTF-8 JSON, an object with a `type`. The first
frame each way is a `hello`; its fields, and `shutdown`, keep their meaning in every version, so that a
client can always tell an incompatible host to go.

client -> host: hello, chat, score, branch, cost, image, status (with `id` and `request`), cancel (`id`),
    shutdown
host -> client: hello, loading, ready, delta and done (a chat), result (the others), error
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from engine import errors
from engine.errors import EngineError

PROTOCOL = 1
MAX_FRAME = 32 * 1024 * 1024
"""Bytes; a longer frame is a mistake of the other side, not a request."""
_LENGTH = struct.Struct(">I")

Frame = dict[str, Any]


class WireError(EngineError):
    """The other side does not speak this protocol."""


class Hello(BaseModel):
    """Who speaks. Unknown fields are ignored: a newer version may add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = "hello"
    protocol: int
    build: str
    """Project version and a fingerprint of the engine's code: see `build`."""
    pid: int
    keep_alive: float | None = None
    """Seconds the host stays after its last client; said by clients."""


def build() -> str:
    """This engine's version and a fingerprint of its source files, as they are now.

    A host says what they were when it started; a client asks for what they are when it connects. So after
    an upgrade, or an edit in a source checkout, nobody talks to a process that runs what was there before.
    """
    try:
        release = version("ostro")
    except PackageNotFoundError:
        release = "source"
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.md")]):
        status = path.stat()
        digest.update(f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"{release}+{digest.hexdigest()[:12]}"


def encode(frame: Frame) -> bytes:
    """Bytes of one frame. Raises WireError where it is too long to be read on the other side."""
    body = json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME:
        raise WireError(
            f"A request of {len(body):,} bytes is too long for the engine ({MAX_FRAME:,} at most)."
        )
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None where the other side hung up. Raises WireError on what is no frame."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            raise WireError(
                f"The other side announced a frame of {length:,} bytes; {MAX_FRAME:,} is the limit."
            )
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    try:
        frame = json.loads(body.decode("utf-8", "surrogatepass"))
    except ValueError:
        raise WireError("The other side sent a frame that is not JSON.") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise WireError("The other side sent a frame without a type.")
    return frame


def error_frame(error: EngineError, request: int | None = None) -> Frame:
    return {"type": "error", "id": request, "error": type(error).__name__, "message": str(error)}


def error_from(frame: Frame) -> EngineError:
    """The exception an error frame stands for; an unknown class becomes a plain EngineError."""
    kind = getattr(errors, str(frame.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, EngineError)):
        kind = EngineError
    return kind(str(frame.get("message", "The engine reported an error.")))
