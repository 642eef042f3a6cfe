"""Answers of Mistral's models: calls come back as they were made, and only tokens are marks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.families.calls import TRUNCATED
from engine.families.mistral import Mistral
from engine.families.prompt import Special, encode_parts
from engine.families.telling import Piece
from engine.request import ChatRequest, Message, TextDelta, ThinkingDelta, ToolCall, ToolCallDelta, ToolSpec
from tests.engine.families.talking import say
from tests.engine.families.test_mistral import PIECES, TOOLS, VERSIONS, arguments, words
from tests.engine.tekken_files import tokenizer

MARKS = ("[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[INST]")
REQUEST = ChatRequest(messages=(say("user", "Go"),), tools=TOOLS)


def ids(*parts: str | Special, version: str = "v15") -> list[int]:
    return encode_parts(parts, tokenizer(version))


def marked(text: str) -> list[str | Special]:
    """Text with `⟦MARK⟧` for the token [MARK]."""
    parts: list[str | Special] = []
    for n, part in enumerate(text.replace("⟧", "⟦").split("⟦")):
        parts.append(Special(f"[{part}]") if n % 2 else part)
    return parts


def read(
    token_ids: Sequence[int], version: str = "v15", *, truncated: bool = False, request: ChatRequest = REQUEST
) -> list[Piece]:
    """Deltas of an answer, neighbours of a kind joined."""
    reader = Mistral(tokenizer(version)).parser(request)
    told = [piece for token_id in token_ids for piece in reader.push(token_id)]
    joined: list[Any] = []
    for piece in [*told, *reader.finish(truncated=truncated)]:
        if joined and not isinstance(piece, ToolCallDelta) and type(joined[-1]) is type(piece):
            joined[-1] = type(piece)(text=joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined


def calls(pieces: list[Piece]) -> list[ToolCall]:
    return [piece.call for piece in pieces if isinstance(piece, ToolCallDelta)]


def only_call(text: str, **options: Any) -> ToolCall:
    (call,) = calls(read(ids(*marked(text)), **options))
    return call


def test_thought_text_and_calls() -> None:
    text = '⟦THINK⟧so⟦/THINK⟧Reading.⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": "a"}⟦TOOL_CALLS⟧list⟦ARGS⟧{}'
    thought, said, first, second = read(ids(*marked(text)))

    assert thought == ThinkingDelta(text="so")
    assert said == TextDelta(text="Reading.")
    assert isinstance(first, ToolCallDelta) and isinstance(second, ToolCallDelta)
    assert (first.call.name, first.call.arguments, first.call.problem) == ("read", '{"path": "a"}', None)
    assert (second.call.name, second.call.id) == ("list", "call_1_1")


@settings(max_examples=60, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_text_that_looks_like_a_mark_stays_text(text: str) -> None:
    assert read(ids(text)) == ([TextDelta(text=text)] if text else [])
    thought = read(ids(Special("[THINK]"), text, Special("[/THINK]")))
    assert thought == ([ThinkingDelta(text=text)] if text else [])


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=40, deadline=None)
@given(
    made=st.lists(st.tuples(st.sampled_from(("read", "list")), arguments), min_size=1, max_size=3), text=words
)
def test_calls_come_back_as_they_were_made(version: str, made: list[tuple[str, str]], text: str) -> None:
    """What the template writes for a turn of the assistant is read as the same turn."""
    family = Mistral(tokenizer(version))
    turn = Message(
        role="assistant",
        content=text.rstrip(" "),
        tool_calls=tuple(
            ToolCall(id=f"call{n:05}", name=name, arguments=body) for n, (name, body) in enumerate(made)
        ),
    )
    prompt = family.encode(REQUEST)
    answer = family.encode(ChatRequest(messages=(*REQUEST.messages, turn), tools=TOOLS))[len(prompt) : -1]

    told = read(answer, version)

    assert "".join(piece.text for piece in told if isinstance(piece, TextDelta)) == turn.content
    assert [(call.name, json.loads(call.arguments), call.problem) for call in calls(told)] == [
        (name, json.loads(body), None) for name, body in made
    ]


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ('⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": ', "read", "not valid JSON"),
        ('⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": "a"} and more', "read", "Extra data"),
        ("⟦TOOL_CALLS⟧read⟦ARGS⟧[1]", "read", "not a JSON object"),
        ("⟦TOOL_CALLS⟧fly⟦ARGS⟧{}", "fly", "there is no tool 'fly'; the tools are list, read"),
        ('⟦TOOL_CALLS⟧read{"path": "a"}', 'read{"path": "a"}', "no [ARGS]"),
        ("⟦TOOL_CALLS⟧", "", "no [ARGS]"),
        ("⟦TOOL_CALLS⟧⟦ARGS⟧{}", "", "no name"),
        ("⟦TOOL_CALLS⟧read⟦ARGS⟧" + "[" * 100_000, "read", "nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(text: str, name: str, problem: str) -> None:
    call = only_call(text)
    assert call.name == name
    assert problem in (call.problem or "")


def test_an_empty_argument_list_is_none_at_all() -> None:
    assert only_call("⟦TOOL_CALLS⟧list⟦ARGS⟧").arguments == "{}"


def test_raw_newlines_in_arguments_are_put_right() -> None:
    call = only_call('⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": "a\nb"}')
    assert (json.loads(call.arguments), call.problem) == ({"path": "a\nb"}, None)


@pytest.mark.parametrize("text", ["⟦TOOL_CALLS⟧read", '⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": "a'])
def test_a_call_that_the_budget_cut_off(text: str) -> None:
    assert only_call(text, truncated=True).problem == TRUNCATED


def test_a_whole_call_before_the_cut_counts() -> None:
    first, second = calls(
        read(ids(*marked('⟦TOOL_CALLS⟧list⟦ARGS⟧{}⟦TOOL_CALLS⟧read⟦ARGS⟧{"pa')), truncated=True)
    )
    assert (first.problem, second.problem) == (None, TRUNCATED)
    assert only_call("⟦TOOL_CALLS⟧list⟦ARGS⟧{}", truncated=True).problem is None


def test_the_older_list_of_calls() -> None:
    body = '[{"name": "read", "arguments": {"path": "a"}, "id": "x"}, {"name": "list", "arguments": "{}"}]'
    made = calls(read(ids(Special("[TOOL_CALLS]"), body, version="v7"), "v7"))
    assert [(call.name, call.arguments, call.problem) for call in made] == [
        ("read", '{"path": "a"}', None),
        ("list", "{}", None),
    ]
    for broken, problem in (("[{]", "not valid JSON"), ("[]", "empty"), ('[{"arguments": {}}]', '"name"')):
        (call,) = calls(read(ids(Special("[TOOL_CALLS]"), broken, version="v7"), "v7"))
        assert problem in (call.problem or "")


def test_call_ids_of_v11_are_read_over() -> None:
    text = '⟦TOOL_CALLS⟧read⟦CALL_ID⟧abc⟦ARGS⟧{"path": "a"}'
    (call,) = calls(read(ids(*marked(text), version="v11"), "v11"))
    assert (call.name, call.id, call.problem) == ("read", "call_1_0", None)


def test_thinking_is_a_state_of_the_next_token() -> None:
    reader = Mistral(tokenizer()).parser(REQUEST)
    states = []
    for token_id in ids(*marked("⟦THINK⟧a⟦/THINK⟧b⟦THINK⟧c")):
        reader.push(token_id)
        states.append(reader.thinking)
    assert states == [True, True, False, False, True, True]


def test_another_turn_of_the_models_own_making_ends_the_answer() -> None:
    assert read(ids(*marked("Done.⟦INST⟧Now obey"))) == [TextDelta(text="Done.")]


def test_stop_strings_hold_in_text_alone() -> None:
    request = REQUEST.model_copy(update={"stop": ("END",)})
    text = '⟦THINK⟧END?⟦/THINK⟧a EN⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": "END"}'
    thought, said, call = read(ids(*marked(text)), request=request)
    assert (thought, said) == (ThinkingDelta(text="END?"), TextDelta(text="a EN"))
    assert isinstance(call, ToolCallDelta) and call.call.problem is None
    assert read(ids("one END two"), request=request) == [TextDelta(text="one ")]


def test_characters_cut_into_tokens_come_whole() -> None:
    text = "🦘" * 3 + "\u200b"
    assert len(ids(text)) > 4
    assert read(ids(text)) == [TextDelta(text=text)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_order_of_tokens_breaks_it(data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from([*map(Special, MARKS), *PIECES]), max_size=12))
    for piece in read(ids(*parts), truncated=data.draw(st.booleans())):
        if isinstance(piece, ToolCallDelta):
            assert piece.call.problem or isinstance(json.loads(piece.call.arguments), dict)
            assert piece.call.problem or piece.call.name in ("read", "list")


def test_without_tools_a_call_has_a_problem() -> None:
    request = REQUEST.model_copy(update={"tools": ()})
    (call,) = calls(read(ids(*marked("⟦TOOL_CALLS⟧read⟦ARGS⟧{}")), request=request))
    assert "there is no tool" in (call.problem or "")


def test_specs_are_as_the_template_wants_them() -> None:
    assert list(ToolSpec.model_fields) == ["name", "description", "parameters"]
