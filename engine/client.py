"""The agent's side of the socket: `Engine` asks the engine process and imports no torch."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, NoReturn

from pydantic import BaseModel, TypeAdapter

from engine import catalogue, launch, wire
from engine.errors import BadImage, EngineDied, EngineError, ImageMissing
from engine.request import (
    MAX_IMAGE_BYTES,
    BranchRequest,
    Capabilities,
    ChatRequest,
    Continuation,
    Cost,
    Delta,
    ImageRequest,
    ScoredToken,
    ScoreRequest,
    ShownImage,
    Usage,
)
from engine.wire import Frame

_DELTA: TypeAdapter[Delta] = TypeAdapter(Delta)
_SCORES = TypeAdapter(list[ScoredToken])
_CONTINUATIONS = TypeAdapter(list[Continuation])

Progress = Callable[[str, float], None]
"""What is going on (`starting`, `loading`), and the share that is done, 0 to 1."""


class Engine:
    """A connection to the engine process of one model. Requests of all clients are served in turn.

    Every method raises EngineError or a subclass; after EngineDied, `Engine.open` starts a new process.
    """

    def __init__(self, link: launch.Link, capabilities: Capabilities):
        self.capabilities = capabilities
        self._link = link
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[Frame | None]] = {}
        self._shown: dict[str, ShownImage] = {}
        self._gone = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        ref: str,
        *,
        memory: int | None = None,
        keep_alive: float = 600.0,
        on_progress: Progress | None = None,
    ) -> Engine:
        """Connect to this user's engine process for a model, or start one, and wait until it is loaded.

        `ref` is a catalogue name, the path of a GGUF file, or a model's folder. `memory` is what the model
        may take, in bytes (None: what is free, less a reserve); one of another budget is another process, and
        leaves first where nobody uses it. The process stays for `keep_alive` seconds after its last client.
        Raises ModelNotFound, BadModelFile, UnsupportedModel or EngineError.
        """
        tell = on_progress or (lambda stage, share: None)
        model = catalogue.resolve(ref)
        tell("starting", 0.0)
        link = await launch.reach(model, keep_alive, memory)
        try:
            return cls(link, await _loaded(link, tell))
        except BaseException:
            link.writer.close()
            raise

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """One answer, delta by delta; the last is the `Usage`. Closing the iterator cancels it."""
        number = next(self._numbers)
        answer = self._ask("chat", number, request)
        finished = False
        try:
            while True:
                frame = await answer.get()
                if frame is None or frame["type"] == "done":  # done without a usage: it was stopped
                    finished = True
                    self._died()
                if frame["type"] == "error":
                    finished = True
                    raise self._error(frame)
                delta = _DELTA.validate_python(frame["delta"])
                finished = isinstance(delta, Usage)
                yield delta
                if finished:
                    return
        finally:
            self._forget(number, cancel=not finished)

    async def score(self, request: ScoreRequest) -> list[ScoredToken]:
        """Log-probability of each token of a text, and the likeliest others in its place."""
        return _SCORES.validate_python(await self._result("score", request))

    async def branch(self, request: BranchRequest) -> list[Continuation]:
        """How a text might go on from several of its places, greedily, in the order of the starts."""
        return _CONTINUATIONS.validate_python(await self._result("branch", request))

    async def show(self, data: bytes) -> ShownImage:
        """Hand over an image file, once; its hash then stands in `Message.images`.

        Nothing is decoded here. Raises BadImage, or EngineError where the model sees no images.
        """
        name = hashlib.sha256(data).hexdigest()
        if not self.capabilities.images:
            raise EngineError(f"{self.capabilities.model} cannot see images; ask a model that can.")
        if len(data) > MAX_IMAGE_BYTES:
            raise BadImage(f"The image file has {len(data):,} bytes; {MAX_IMAGE_BYTES:,} is the limit.")
        if name not in self._shown:
            request = ImageRequest(data=base64.b64encode(data).decode())
            self._shown[name] = ShownImage.model_validate(await self._result("image", request))
        return self._shown[name]

    async def cost(self, request: ChatRequest) -> Cost:
        """What a chat would have to prefill, and about how long that takes."""
        return Cost.model_validate(await self._result("cost", request))

    async def status(self) -> dict[str, Any]:
        """The process: pid, model, memory, state, clients, waiting, running, keep_alive."""
        return await self._result("status", None)

    async def close(self, *, shutdown: bool = False) -> None:
        """Hang up, which cancels what is still asked. `shutdown`: the process leaves with its last client."""
        with contextlib.suppress(OSError):
            if shutdown and not self._gone:
                self._link.send({"type": "shutdown"})
                await self._link.writer.drain()
            self._link.writer.close()
            await self._link.writer.wait_closed()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _result(self, kind: str, request: BaseModel | None) -> Any:
        number = next(self._numbers)
        answer = self._ask(kind, number, request)
        frame: Frame | None = None
        try:
            frame = await answer.get()
        finally:
            self._forget(number, cancel=frame is None)
        if frame is None or frame["type"] == "done":
            self._died()
        if frame["type"] == "error":
            raise self._error(frame)
        return frame["result"]

    def _error(self, frame: Frame) -> EngineError:
        error = wire.error_from(frame)
        if isinstance(error, ImageMissing):
            self._shown.clear()  # what is shown again is sent again
        return error

    def _ask(self, kind: str, number: int, request: BaseModel | None) -> asyncio.Queue[Frame | None]:
        if self._gone or self._link.writer.is_closing():
            self._died()
        body = None if request is None else request.model_dump(mode="json")
        self._link.send({"type": kind, "id": number, "request": body})
        answer = self._answers[number] = asyncio.Queue()
        return answer

    def _forget(self, number: int, *, cancel: bool) -> None:
        self._answers.pop(number, None)
        if cancel and not self._gone and not self._link.writer.is_closing():
            self._link.send({"type": "cancel", "id": number})

    async def _read(self) -> None:
        """Hand each frame to who waits for it; when the process is gone, tell them all."""
        try:
            while (frame := await wire.read_frame(self._link.reader)) is not None:
                answer = self._answers.get(frame.get("id") or 0)
                if answer is not None:
                    answer.put_nowait(frame)
        except EngineError:
            self._link.writer.close()  # not our protocol any more
        finally:
            self._gone = True
            for answer in self._answers.values():
                answer.put_nowait(None)

    def _died(self) -> NoReturn:
        raise EngineDied(
            f"The engine process ({self._link.pid}) went away; start again and a new one loads "
            f"(its log is {self._link.meeting.log})."
        )


async def _loaded(link: launch.Link, tell: Progress) -> Capabilities:
    """Follow the loading to its end."""
    while (frame := await wire.read_frame(link.reader)) is not None:
        if frame["type"] == "error":
            raise wire.error_from(frame)
        if frame["type"] == "loading":
            tell("loading", float(frame["share"]))
        if frame["type"] == "ready":
            return Capabilities.model_validate(frame["capabilities"])
    raise EngineDied(
        f"The engine process ({link.pid}) went away while it loaded the model; memory may be short "
        f"(its log is {link.meeting.log})."
    )
