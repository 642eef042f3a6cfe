"""The requests of all clients, one after the other, in the one thread that the model lives in."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from engine import probe
from engine.answer import Answer
from engine.errors import BadImage, EngineError
from engine.families import Family, family_of
from engine.families.vocabulary import Pictures
from engine.model import Load, Model
from engine.request import (
    BranchRequest,
    Capabilities,
    ChatRequest,
    Continuation,
    Cost,
    ImageRequest,
    ScoredToken,
    ScoreRequest,
    ShownImage,
)
from engine.wire import Frame, error_frame

if TYPE_CHECKING:
    from engine.vision.album import Album, Picture

log = logging.getLogger(__name__)

REQUESTS: dict[str, type[BaseModel]] = {
    "chat": ChatRequest,
    "score": ScoreRequest,
    "branch": BranchRequest,
    "cost": ChatRequest,
    "image": ImageRequest,
}
_SCORES = TypeAdapter(list[ScoredToken])
_CONTINUATIONS = TypeAdapter(list[Continuation])


class Job:
    """One request of one client. `send` takes the frames that answer it, from any thread."""

    def __init__(self, kind: str, number: int, request: BaseModel, send: Callable[[Frame], None]):
        self.kind, self.number, self.request, self.send = kind, number, request, send
        self.cancelled = Event()

    def result(self, value: Any) -> None:
        self.send({"type": "result", "id": self.number, "result": value})


def read_request(frame: Frame) -> BaseModel:
    """The request in a frame. Raises EngineError where it is malformed."""
    try:
        return REQUESTS[frame["type"]].model_validate(frame.get("request"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EngineError(f"The {frame['type']} request is malformed: {where}: {first['msg']}.") from None


class JobQueue:
    """First come, first served; loading the model is what the thread does before the first."""

    def __init__(self, log_path: Path):
        self._log_path = log_path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._model: Model | None = None
        self._family: Family | None = None
        self._album: Album | None = None
        self.running: Job | None = None
        self.idle = asyncio.Event()
        """Set while no request is being answered."""
        self.idle.set()

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

    @property
    def capabilities(self) -> Capabilities:
        """What the loaded model can do."""
        assert self._model is not None and self._family is not None, "asked before the model was loaded"
        return Capabilities(
            model=self._model.name,
            family=self._family.name,
            context=self._model.context,
            effort=self._family.effort,
            images=self._album is not None,
        )

    async def load(self, load: Load, path: Path, threads: int, progress: Callable[[float], None]) -> None:
        """Raises EngineError, whatever went wrong."""
        began = time.monotonic()
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._thread, self._load, load, path, threads, progress
            )
        except EngineError:
            raise
        except MemoryError:
            raise EngineError(f"There is not enough memory to load {path}; try a smaller model.") from None
        except Exception as error:
            log.exception("loading failed")
            raise EngineError(
                f"Loading {path} failed ({_brief(error)}); the log is {self._log_path}."
            ) from None
        log.info("loaded %s in %.1f s with %d threads", path, time.monotonic() - began, threads)

    def _load(self, load: Load, path: Path, threads: int, progress: Callable[[float], None]) -> None:
        model = load(path, threads, progress)
        self._family = family_of(model.architecture, model.tokenizer)
        if self._family.images and model.image_grid is not None:
            from engine.vision.album import Album  # brings pillow, which other models do without

            self._album = Album(model.image_grid)
        self._model = model

    def add(self, job: Job) -> None:
        self._waiting.put_nowait(job)

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            job = await self._waiting.get()
            if job.cancelled.is_set():
                job.send({"type": "done", "id": job.number})
                continue
            self.running = job
            self.idle.clear()
            try:
                await loop.run_in_executor(self._thread, self._execute, job)
            finally:
                self.running = None
                self.idle.set()

    def _execute(self, job: Job) -> None:
        """Answer one request; whatever happens in it ends the request, not the process."""
        began = time.monotonic()
        try:
            self._answer(job)
            outcome = "done"
        except Exception as error:
            if job.cancelled.is_set():
                outcome = "cancelled"
                job.send({"type": "done", "id": job.number})
            else:
                outcome = type(error).__name__
                job.send(error_frame(self._explained(error), job.number))
        log.info("%s: %s in %.2f s", job.kind, outcome, time.monotonic() - began)

    def _explained(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        log.error("a request failed", exc_info=error)
        return EngineError(
            f"The engine failed on this request ({_brief(error)}); the log is {self._log_path}."
        )

    def _answer(self, job: Job) -> None:
        model, family, request = self._model, self._family, job.request
        assert model is not None and family is not None, "the thread loads before it answers"
        cancelled = job.cancelled.is_set
        if isinstance(request, ScoreRequest):
            job.result(_SCORES.dump_python(probe.score(model, request, cancelled), mode="json"))
        elif isinstance(request, BranchRequest):
            job.result(_CONTINUATIONS.dump_python(probe.branch(model, request, cancelled), mode="json"))
        elif isinstance(request, ImageRequest):
            job.result(self._look(request).model_dump(mode="json"))
        elif isinstance(request, ChatRequest) and job.kind == "cost":
            job.result(_cost(model, family, request, self._pictures(request)).model_dump(mode="json"))
        elif isinstance(request, ChatRequest):
            pictures = self._pictures(request)
            if pictures:
                model.see({picture.number: picture for picture in pictures.values()})
            tell = partial(_tell, job)
            Answer(model, family, request, tell, cancelled, pictures).run()
            job.send({"type": "done", "id": job.number})

    def _look(self, request: ImageRequest) -> ShownImage:
        try:
            data = base64.b64decode(request.data, validate=True)
        except ValueError:
            raise BadImage("The image did not arrive whole: it is not base64.") from None
        name, picture = self._seeing().add(data)
        return ShownImage(sha256=name, width=picture.width, height=picture.height, tokens=picture.tokens)

    def _pictures(self, request: ChatRequest) -> dict[str, Picture]:
        """The images of a conversation. Raises EngineError where there can be none, ImageMissing."""
        shown = [message for message in request.messages if message.images]
        if not shown:
            return {}
        if any(message.role not in ("user", "tool") for message in shown):
            raise EngineError("Only turns of the user and of a tool can show images.")
        return self._seeing().of(name for message in shown for name in message.images)

    def _seeing(self) -> Album:
        if self._album is None:
            assert self._model is not None
            raise EngineError(f"{self._model.name} cannot see images; ask a model that can.")
        return self._album


def _tell(job: Job, delta: BaseModel) -> None:
    job.send({"type": "delta", "id": job.number, "delta": delta.model_dump(mode="json")})


def _cost(model: Model, family: Family, request: ChatRequest, pictures: Pictures) -> Cost:
    """Of the prompt as it is asked for: at another effort than before, that of the switch."""
    ids = [*family.encode(request, pictures), *family.opening(request)]
    cached = model.cached_prefix(ids)
    prefill = len(ids) - cached
    return Cost(
        prefill=prefill, cached=cached, seconds=prefill / model.prefill_speed if model.prefill_speed else 0.0
    )


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
