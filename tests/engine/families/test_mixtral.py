"""The templates of Mixtral, v1 and v3: ids as mistral-common encodes them with the library sentencepiece."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from engine.errors import EngineError, UnsupportedModel
from engine.families import family_of
from engine.families.mistral import Mistral, version_of
from engine.request import ChatRequest, Effort, Message, ToolCall
from engine.spm_tokenizer import SpmTokenizer
from tests.engine.families.talking import heard, say
from tests.engine.families.test_mistral import TOOLS, conversations
from tests.engine.test_spm_tokenizer import TOKENIZERS, V1, V3

FILES = {"v1": V1, "v3": V3}
FAMILIES = {version: Mistral(TOKENIZERS[file]) for version, file in FILES.items()}


@functools.cache
def reference(version: str) -> MistralTokenizer:
    return MistralTokenizer.from_file(str(FILES[version]))


def by_mistral_common(version: str, request: ChatRequest) -> list[int]:
    chat: dict[str, Any] = {
        "messages": [_openai(message) for message in request.messages],
        "tools": [{"type": "function", "function": tool.model_dump()} for tool in request.tools] or None,
    }
    return reference(version).encode_chat_completion(ChatCompletionRequest.model_validate(chat)).tokens


def _openai(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return told | ({"tool_call_id": message.tool_call_id} if message.tool_call_id else {})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_ids_are_those_of_mistral_common(data: st.DataObject) -> None:
    request = ChatRequest(
        messages=tuple(
            message.model_copy(update={"images": ()}) for message in data.draw(conversations("v3"))
        ),
        tools=data.draw(st.sampled_from([(), TOOLS[:1], TOOLS])),
    )
    assert FAMILIES["v3"].encode(request) == by_mistral_common("v3", request)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_ids_of_the_first_template(data: st.DataObject) -> None:
    """It has no tools, so that calls and their results are left out."""
    messages = [
        message.model_copy(update={"images": ()})
        for message in data.draw(conversations("v3"))
        if not message.tool_calls and message.role != "tool"
    ]
    request = ChatRequest(messages=tuple(messages))
    assert FAMILIES["v1"].encode(request) == by_mistral_common("v1", request)


def test_the_whole_templates_as_text() -> None:
    messages = (say("system", "S"), say("user", "U1"), say("assistant", "A"), say("user", "U2"))
    request = ChatRequest(messages=messages, effort=Effort.HIGH)
    assert FAMILIES["v1"].render(request) == "<s>[INST] S\n\nU1 [/INST]A</s>[INST] U2 [/INST]"
    assert FAMILIES["v3"].render(request) == "<s>[INST]U1[/INST]A</s>[INST]S\n\nU2[/INST]"
    assert {family.effort for family in FAMILIES.values()} == {"unsupported"}


def test_the_first_template_knows_no_tools() -> None:
    family = FAMILIES["v1"]
    with pytest.raises(EngineError, match="knows no tools"):
        family.encode(ChatRequest(messages=(say("user", "Go"),), tools=TOOLS))
    with pytest.raises(EngineError, match="knows no tools"):
        family.encode(ChatRequest(messages=(say("user", "Go"), say("tool", "x", tool_call_id="a"))))
    with pytest.raises(EngineError, match="no place for images"):
        family.encode(ChatRequest(messages=(say("user", "Go", images=("a",)),)))


@pytest.mark.parametrize("version", FILES)
def test_an_answer_begins_without_the_blank(version: str) -> None:
    tokenizer = TOKENIZERS[FILES[version]]
    reader = FAMILIES[version].parser(ChatRequest(messages=(say("user", "Go"),)))
    assert heard(reader, tokenizer.encode("Hello there.")) == ["", "Hello there."]


def test_a_call_is_read_as_it_is_made() -> None:
    tokenizer, family = TOKENIZERS[V3], FAMILIES["v3"]
    asked = ChatRequest(messages=(say("user", "Go"),), tools=TOOLS)
    call = ToolCall(id="abc", name="read", arguments='{"path": "é.py"}')
    ids = family.encode(
        asked.model_copy(update={"messages": (*asked.messages, say("assistant", tool_calls=(call,)))})
    )
    answer = ids[len(family.encode(asked)) : -1]
    _, said, found = heard(family.parser(asked), answer)
    assert (said, found.name, found.arguments, found.problem) == ("", "read", '{"path": "é.py"}', None)
    assert answer[0] == tokenizer.special["[TOOL_CALLS]"]


def test_the_version_is_found(tmp_path: Path) -> None:
    assert [version_of(TOKENIZERS[file]) for file in (V1, V3)] == [1, 3]
    for file, number in ((V1, 1), (V3, 3)):
        plain = tmp_path / "tokenizer.model"
        plain.write_bytes(file.read_bytes())
        assert version_of(SpmTokenizer(plain)) == number
        assert family_of("mixtral", SpmTokenizer(plain)).name == "mistral"
    second = tmp_path / "tokenizer.model.v2"
    second.write_bytes(V3.read_bytes())
    with pytest.raises(UnsupportedModel, match="template v2 is not supported; v1 and v3 to v15 are"):
        family_of("mixtral", SpmTokenizer(second))
