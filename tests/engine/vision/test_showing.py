"""Images on their way: shown once, named by hash, placed in the prompt, seen by the model; and refused."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.errors import BadImage, EngineError, ImageMissing
from engine.jobs import Job, JobQueue
from engine.request import MAX_IMAGE_BYTES, ChatRequest, ImageRequest, Message, ShownImage
from engine.vision.album import Picture
from engine.vision.grid import ImageGrid
from engine.vision.places import place_of
from engine.wire import MAX_FRAME, encode
from tests.engine.conftest import ModelFile
from tests.engine.test_answer import Dictated
from tests.engine.vision.image_files import photo, saved

FILE = saved(photo(60, 30), "PNG")


class Seeing(Dictated):
    image_grid = ImageGrid(patch=14, longest=1540, merge=2)

    def __init__(self) -> None:
        super().__init__("A cat.")
        self.image_grid = Seeing.image_grid
        self.seen: list[dict[int, Picture]] = []

    def generate(self, prompt: list[int], **options: Any):
        self.prompts.append(prompt)
        return super().generate(prompt, **options)

    def see(self, pictures: Any) -> None:
        self.seen.append(dict(pictures))


async def queue(model: Any) -> JobQueue:
    jobs = JobQueue(Path("log"))
    await jobs.load(lambda *_, **__: model, Path("model"), 1, lambda share: None)
    return jobs


def ask(jobs: JobQueue, kind: str, request: Any) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    jobs._answer(Job(kind, 1, request, frames.append))
    return frames


def show(jobs: JobQueue, data: bytes = FILE) -> ShownImage:
    (frame,) = ask(jobs, "image", ImageRequest(data=base64.b64encode(data).decode()))
    return ShownImage.model_validate(frame["result"])


async def test_an_image_in_a_turn_and_in_a_result() -> None:
    model = Seeing()
    jobs = await queue(model)
    assert jobs.capabilities.images
    shown, other = show(jobs), show(jobs, saved(photo(60, 30, seed=1), "PNG"))
    assert (shown.width, shown.height, shown.tokens) == (60, 30, 8)

    messages = (
        Message(role="user", content="What is this?", images=(shown.sha256,)),
        Message(role="tool", content="a screenshot", images=(other.sha256, shown.sha256), tool_call_id="a"),
    )
    frames = ask(jobs, "chat", ChatRequest(messages=messages, max_tokens=8))

    assert [frame["delta"]["text"] for frame in frames if frame.get("delta", {}).get("kind") == "text"]
    places = [place_of(token_id) for token_id in model.prompts[0] if token_id < 0]
    assert places == [(number, n) for number in (0, 1, 0) for n in range(6)]
    assert set(model.seen[0]) == {0, 1}
    assert model.seen[0][1].pixel_values().shape == (3, 56, 84)
    (cost,) = ask(jobs, "cost", ChatRequest(messages=messages))
    assert cost["result"]["prefill"] == len(model.prompts[0]) - 7


@pytest.mark.parametrize(
    ("data", "error"), [("%%%", "not base64"), (base64.b64encode(b"hello").decode(), "PNG, JPEG, WebP")]
)
async def test_what_cannot_be_seen(data: str, error: str) -> None:
    jobs = await queue(Seeing())
    with pytest.raises(BadImage, match=error):
        ask(jobs, "image", ImageRequest(data=data))


async def test_an_image_that_was_not_shown_or_stands_in_the_wrong_turn() -> None:
    jobs = await queue(Seeing())
    with pytest.raises(ImageMissing, match="show it again"):
        ask(jobs, "chat", ChatRequest(messages=(Message(role="user", images=("0" * 64,)),)))
    shown = show(jobs)
    with pytest.raises(EngineError, match="Only turns of the user and of a tool"):
        ask(jobs, "chat", ChatRequest(messages=(Message(role="system", images=(shown.sha256,)),)))


async def test_a_model_without_eyes() -> None:
    jobs = await queue(Dictated("x"))
    assert not jobs.capabilities.images
    with pytest.raises(EngineError, match="cannot see images"):
        show(jobs)


async def test_the_client_asks_first_what_the_model_can(scripted: ModelFile) -> None:
    async with await Engine.open(scripted()) as engine:
        with pytest.raises(EngineError, match="cannot see images"):
            await engine.show(FILE)


async def test_the_bytes_cross_the_socket_once(scripted: ModelFile) -> None:
    async with await Engine.open(scripted("seeing")) as engine:
        assert engine.capabilities.images
        first = await engine.show(FILE)
        sent = []
        engine._link.send = sent.append  # type: ignore[method-assign]
        assert await engine.show(FILE) == first
        assert not sent
        with pytest.raises(BadImage, match="limit"):
            await engine.show(bytes(MAX_IMAGE_BYTES + 1))


async def test_an_image_that_the_engine_let_go_can_be_shown_again(scripted: ModelFile) -> None:
    async with await Engine.open(scripted("seeing")) as engine:
        await engine.show(FILE)
        request = ChatRequest(messages=(Message(role="user", content="say x", images=("0" * 64,)),))
        with pytest.raises(ImageMissing):
            [delta async for delta in engine.chat(request)]
        assert not engine._shown
        with pytest.raises(BadImage, match="PNG"):
            await engine.show(b"hello")
        assert (await engine.show(FILE)).tokens == 8


def test_the_largest_image_fits_into_a_frame() -> None:
    data = base64.b64encode(bytes(MAX_IMAGE_BYTES)).decode()
    frame = {"type": "image", "id": 1, "request": ImageRequest(data=data).model_dump()}
    assert len(encode(frame)) < MAX_FRAME
