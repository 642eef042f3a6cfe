"""A small random Mistral 3 with a Pixtral tower, in the engine process: images of a user, and of a tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import ChatRequest, Engine, Message, ToolCall, Usage
from engine.checkpoints import open_checkpoint
from engine.errors import BadImage
from engine.experts import convert
from tests.engine import random_checkpoints as random
from tests.engine.hosted.tiny import MISTRAL, wrapped
from tests.engine.tekken_files import write_tekken
from tests.engine.vision.image_files import photo, saved

WIDE, OTHER = saved(photo(60, 30), "PNG"), saved(photo(60, 30, seed=1), "PNG")
PLACES = 2 * (4 + 1)
"""32 x 16 pixels are left of 60 x 30: 2 rows of 4 places of 8 x 8, each row with an end."""


def dense() -> dict[str, Any]:
    config = wrapped({**MISTRAL, "vocab_size": 131_072, "hidden_size": 32})
    return {**config, "architectures": ["Mistral3ForConditionalGeneration"]}


@pytest.fixture(scope="module", params=["mistral4, packed", "mistral"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeing") / "model"
    sparse = request.param == "mistral4, packed"
    config = random.small_config(vocab_size=131_072, hidden_size=64) if sparse else dense()
    source = path.with_name("source") if sparse else path
    random.write_hf(random.random_model(config), source)
    if sparse:
        convert(open_checkpoint(source), path, form="int8")
    tekken = json.loads(write_tekken(path, "v15").read_text())
    tekken["image"] = {"image_patch_size": 4, "max_image_size": 32, "spatial_merge_size": 2}
    (path / "tekken.json").write_text(json.dumps(tekken))
    return path


def asking(*images: str, result: tuple[str, ...] = ()) -> ChatRequest:
    """A question with images, and a tool's answer with some."""
    call = ToolCall(id="a", name="look", arguments="{}")
    messages = (
        Message(role="user", content="What is this?", images=images),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="a screenshot", images=result, tool_call_id="a"),
    )
    return ChatRequest(messages=messages, max_tokens=16)


async def usage_of(engine: Engine, request: ChatRequest) -> Usage:
    *_, usage = [delta async for delta in engine.chat(request)]
    assert isinstance(usage, Usage) and usage.generated
    return usage


async def test_images_of_a_user_and_of_a_tool(folder: Path) -> None:
    async with await Engine.open(str(folder), keep_alive=0) as engine:
        assert engine.capabilities.images
        shown, other = await engine.show(WIDE), await engine.show(OTHER)
        assert (shown.width, shown.height, shown.tokens) == (60, 30, PLACES)

        without = await usage_of(engine, asking())
        asked = await usage_of(engine, asking(shown.sha256))
        answered = await usage_of(engine, asking(result=(shown.sha256,)))
        assert asked.prompt == answered.prompt == without.prompt + PLACES

        both = await usage_of(engine, asking(shown.sha256, result=(other.sha256,)))
        assert both.prompt == without.prompt + 2 * PLACES
        # What was seen is a prefix like any other; another image in its place is not.
        again = await engine.cost(asking(shown.sha256, result=(other.sha256,)))
        swapped = await engine.cost(asking(shown.sha256, result=(shown.sha256,)))
        assert again.prefill == 1 and PLACES <= swapped.prefill < both.prompt - PLACES

        with pytest.raises(BadImage, match="no image that can be read"):
            await engine.show(b"hello")
        assert (await usage_of(engine, asking(shown.sha256))).token_ids == asked.token_ids
