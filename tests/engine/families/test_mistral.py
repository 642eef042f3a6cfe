"""Mistral's templates: ids as mistral-common encodes them, for any conversation, in every version."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers import image as reference_image
from PIL import Image

from engine.errors import EngineError, UnsupportedModel
from engine.families import family_of
from engine.families.mistral import Mistral, version_of
from engine.request import ChatRequest, Effort, Message, ToolCall, ToolSpec
from engine.vision.grid import ImageGrid
from tests.engine.families.talking import say
from tests.engine.scripted_runtime import ByteTokenizer
from tests.engine.tekken_files import reference, tokenizer

VERSIONS = ("v3", "v7", "v11", "v13", "v15")
TOOLS = (
    ToolSpec(
        name="read",
        description="Read a file; “quotes”, <tags> & 'apostrophes' stay.",
        parameters={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    ),
    ToolSpec(name="list", description="", parameters={"type": "object", "properties": {}}),
)
FAMILIES = {version: Mistral(tokenizer(version)) for version in VERSIONS}
FAMILY = FAMILIES["v15"]
PIECES = [
    "Hello", " world", "\n", "  ", "é日🎉", "[INST]", "[/INST]", "</s>", "<s>", "[TOOL_CALLS]", "[ARGS]{}",
    "[THINK]", "[/THINK]", "[MODEL_SETTINGS]", '{"a": 1}', "[1, 2]", "x=1;", "[IMG]",
    "[SYSTEM_PROMPT]", "\t", "don't",
]  # fmt: skip

words = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
names = st.sampled_from(("read", "list"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=4,
)
arguments = st.dictionaries(words, values, max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)


class Shown:
    """A picture as the album gives one."""

    def __init__(self, width: int, height: int, grid: ImageGrid):
        self.size = (width, height)
        self.columns, self.rows = grid.places(width, height)

    def place(self, n: int) -> int:
        return -1 - n


@st.composite
def conversations(draw: st.DrawFn, version: str) -> tuple[Message, ...]:
    """What the protocol allows in this version: rounds of a user, calls with their results, an answer."""
    number = int(version[1:])
    said: list[Message] = []
    if draw(st.booleans()):
        said.append(Message(role="system", content=draw(words)))
    rounds = draw(st.integers(1, 3))
    for n in range(rounds):
        for _ in range(draw(st.integers(1, 2))):
            images = draw(st.lists(st.sampled_from(("small", "wide")), max_size=2))
            said.append(Message(role="user", content=draw(words), images=tuple(images)))
        calls = draw(st.integers(0, 2))
        if calls:
            made = tuple(
                ToolCall(id=f"call{n:03}{i:02}", name=draw(names), arguments=draw(arguments))
                for i in range(calls)
            )
            thinking = draw(st.just("") | words) if number >= 13 else ""
            text = draw(st.just("") | words) if number >= 7 else ""
            said.append(Message(role="assistant", content=text, thinking=thinking, tool_calls=made))
            for call in draw(st.permutations(made)) if number >= 11 else made:
                shown = draw(st.lists(st.just("small"), max_size=1)) if number >= 15 else []
                result = Message(role="tool", content=draw(words), tool_call_id=call.id, images=tuple(shown))
                said.append(result)
        if n + 1 < rounds:
            thinking = draw(st.just("") | words) if number >= 13 else ""
            said.append(Message(role="assistant", content=draw(words), thinking=thinking))
    return tuple(said)


PICTURES = {"small": (40, 30), "wide": (200, 90)}


def pictures(version: str) -> dict[str, Shown]:
    grid = tokenizer(version).image_grid
    assert grid is not None
    return {name: Shown(*size, grid) for name, size in PICTURES.items()}


def by_mistral_common(version: str, request: ChatRequest) -> list[int]:
    """The reference's ids, with an image's places as -1, -2, …, as `Shown` has them."""
    chat: dict[str, Any] = {
        "messages": [_openai(message) for message in request.messages],
        "tools": [{"type": "function", "function": tool.model_dump()} for tool in request.tools] or None,
    }
    if version == "v15":
        chat["reasoning_effort"] = request.effort.value
    tokens = reference(version).encode_chat_completion(ChatCompletionRequest.model_validate(chat)).tokens
    ids: list[int] = []
    place = 0
    for token_id in tokens:
        place = place - 1 if token_id == 10 else 0 if token_id == 13 else place
        ids.append(place if token_id == 10 else token_id)
    return ids


def _openai(message: Message) -> dict[str, Any]:
    chunks: list[dict[str, Any]] = [
        {"type": "image", "image": Image.new("RGB", PICTURES[name])} for name in message.images
    ]
    if message.thinking:
        chunks.append({"type": "thinking", "thinking": message.thinking, "closed": True})
    if chunks and message.content:
        chunks.append({"type": "text", "text": message.content})
    told: dict[str, Any] = {"role": message.role, "content": chunks or message.content}
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told


@pytest.fixture(autouse=True, scope="module")
def no_pixels():
    """The reference would resize by OpenCV, which is not installed; its tokens do not depend on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_image, "transform_image", lambda image, size: np.zeros((3, *size[::-1])))
        yield


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_ids_are_those_of_mistral_common(version: str, data: st.DataObject) -> None:
    request = ChatRequest(
        messages=data.draw(conversations(version)),
        tools=data.draw(st.sampled_from([(), TOOLS[:1], TOOLS])),
        effort=data.draw(st.sampled_from(Effort)) if version == "v15" else Effort.NONE,
    )

    ids = FAMILIES[version].encode(request, pictures(version))

    assert ids == by_mistral_common(version, request)


def test_the_whole_template_as_text() -> None:
    call = ToolCall(id="a", name="read", arguments='{"path":"b.py"}')
    other = ToolCall(id="b", name="list", arguments="")
    request = ChatRequest(
        messages=(
            say("system", "S"),
            say("user", "U1"),
            say("assistant", "text", thinking="hm", tool_calls=(call, other)),
            say("tool", "second", tool_call_id="b"),
            say("tool", "first", tool_call_id="a"),
            say("user", "U2"),
        ),
        tools=TOOLS[1:],
        effort=Effort.HIGH,
    )

    assert FAMILY.render(request) == (
        "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT]"
        '[AVAILABLE_TOOLS][{"type": "function", "function": {"name": "list", "description": "", '
        '"parameters": {"type": "object", "properties": {}}}}][/AVAILABLE_TOOLS]'
        '[MODEL_SETTINGS]{"reasoning_effort": "high"}[/MODEL_SETTINGS]'
        "[INST]U1[/INST][THINK]hm[/THINK]text"
        '[TOOL_CALLS]read[ARGS]{"path": "b.py"}[TOOL_CALLS]list[ARGS]{}</s>'
        "[TOOL_RESULTS]first[/TOOL_RESULTS][TOOL_RESULTS]second[/TOOL_RESULTS][INST]U2[/INST]"
    )


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=40, deadline=None)
@given(system=words, user=words, result=words, thought=words)
def test_nothing_typed_becomes_a_special_token(
    version: str, system: str, user: str, result: str, thought: str
) -> None:
    call = ToolCall(id="call00000", name="read", arguments=json.dumps({"path": user}))

    def special(system: str, user: str, result: str, thought: str, call: ToolCall) -> list[int]:
        request = ChatRequest(
            messages=(
                say("system", system),
                say("user", user),
                say("assistant", user, thinking=thought, tool_calls=(call,)),
                say("tool", result, tool_call_id="call00000"),
            ),
            tools=TOOLS,
        )
        return [each for each in FAMILIES[version].encode(request) if each < 1000]

    plain = special("x", "x", "x", "x", call.model_copy(update={"arguments": "{}"}))
    assert special(system, user, result, thought, call) == plain


def test_history_is_fed_back_token_for_token() -> None:
    """A conversation only grows: what was prefilled and generated is the beginning of the next prompt."""
    asked = ChatRequest(messages=(say("user", "Go"),), tools=TOOLS, effort=Effort.HIGH)
    special = FAMILY._vocabulary.special
    ids = (special["[THINK]"], *tokenizer().encode(" odd  spelling"), special["[/THINK]"], 5000)
    before = [*FAMILY.encode(asked), *ids]
    for ending in ((), (2,)):
        messages = (
            *asked.messages,
            say("assistant", "ignored", token_ids=(*ids, *ending)),
            say("user", "More"),
        )
        after = FAMILY.encode(asked.model_copy(update={"messages": messages}))
        assert after[: len(before) + 1] == [*before, 2]


def test_effort_stands_at_the_start() -> None:
    request = ChatRequest(messages=(say("system", "S"), say("user", "Go")))
    calm, high = (FAMILY.encode(request.model_copy(update={"effort": effort})) for effort in Effort)

    assert FAMILY.effort == "native" and FAMILY.effort_at_start
    assert len(calm) == len(high)
    assert sum(a != b for a, b in zip(calm, high, strict=True)) == 1


def test_magistral_is_asked_to_think_by_its_own_prompt() -> None:
    request = ChatRequest(messages=(say("system", "S"), say("user", "Go")), effort=Effort.HIGH)
    family = FAMILIES["v13"]

    assert family.effort == "prompted" and family.effort_at_start
    rendered = family.render(request)
    assert rendered.startswith("<s>[SYSTEM_PROMPT]First draft your thinking process")
    assert rendered.endswith(
        "[/THINK]Here, provide a self-contained response.\n\nS[/SYSTEM_PROMPT][INST]Go[/INST]"
    )
    thought = tokenizer("v13").special["[THINK]"]
    assert thought in family.encode(request)
    alone = request.model_copy(update={"messages": request.messages[1:]})
    assert family.render(alone).endswith("response.[/SYSTEM_PROMPT][INST]Go[/INST]")
    assert FAMILIES["v11"].effort == "unsupported"
    assert FAMILIES["v11"].render(request) == FAMILIES["v11"].render(
        request.model_copy(update={"effort": Effort.NONE})
    )


def test_a_malformed_call_is_shown_as_it_was() -> None:
    call = ToolCall(id="c", name="read", arguments='{"path": ', problem="cut")
    request = ChatRequest(messages=(say("user", "a"), say("assistant", tool_calls=(call,))))
    assert '[TOOL_CALLS]read[ARGS]{"path": </s>' in FAMILY.render(request)


def test_images_in_results_need_v15() -> None:
    request = ChatRequest(messages=(say("user", "a"), say("tool", "x", tool_call_id="b", images=("small",))))
    with pytest.raises(EngineError, match="turns of the user alone"):
        FAMILIES["v13"].encode(request, pictures("v13"))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_is_found_by_the_tokens(version: str) -> None:
    class Bare:
        special = tokenizer(version).special

    assert version_of(tokenizer(version)) == int(version[1:])
    found = version_of(Bare())  # type: ignore[arg-type]
    assert found == {3: 7}.get(int(version[1:]), int(version[1:])), "v3 and v7 files name the same tokens"


def test_the_version_is_found_by_the_template() -> None:
    for template, number in (
        ("[INST]", 3),
        ("[SYSTEM_PROMPT]", 7),
        ("[SYSTEM_PROMPT][CALL_ID][ARGS]", 11),
        ("[SYSTEM_PROMPT][ARGS]", 13),
        ("[ARGS][MODEL_SETTINGS]", 15),
    ):
        vocabulary = SimpleNamespace(special=tokenizer().special, chat_template=template)
        assert version_of(vocabulary) == number  # type: ignore[arg-type]


def test_vocabularies_of_others() -> None:
    assert family_of("mistral4", tokenizer()).name == "mistral"
    with pytest.raises(UnsupportedModel, match="lacks <s>"):
        Mistral(ByteTokenizer())
    with pytest.raises(UnsupportedModel, match=r"lacks \[ARGS\]"):
        Mistral(tokenizer("v7"), 11)
