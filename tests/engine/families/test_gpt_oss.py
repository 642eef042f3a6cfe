"""gpt-oss: the prompt as its own template writes it, answers by channel, calls by recipient."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UnsupportedModel
from engine.families.calls import TRUNCATED
from engine.families.gpt_oss import GptOss
from engine.request import (
    ChatRequest,
    Effort,
    ToolCall,
    ToolSpec,
)
from tests.engine.families.named_tokens import NamedTokens
from tests.engine.families.own_templates import FETCHED, TODAY, by_template, own_template
from tests.engine.families.talking import TURNS, heard, say

MARKS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")
VOCABULARY = NamedTokens(*MARKS)
FAMILY = GptOss(VOCABULARY, TODAY)
READ = ToolSpec(
    name="read",
    description="Read a file.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where it is"},
            "lines": {"type": "array", "items": {"type": "integer"}, "default": [1]},
            "mode": {"type": "string", "enum": ["text", "bytes"], "default": "text"},
            "names": {"type": "array", "items": {"type": "string", "enum": ["a"]}},
            "any": {"type": "array"},
            "deep": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "boolean"}}}},
            "where": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "string", "nullable": True}},
                "required": ["x"],
            },
            "bare": {"type": "object"},
            "either": {"type": ["string", "null"]},
            "one": {"oneOf": [{"type": "string", "description": "d", "default": "é"}, {"type": "integer"}]},
            "what": {},
        },
        "required": ["path"],
    },
)
LIST = ToolSpec(name="list", description="List.", parameters={"type": "object", "properties": {}})
CALL = ToolCall(id="a", name="read", arguments='{"path": "ä.py",  "lines": [1, 2]}')


CONVERSATIONS = {
    **TURNS,
    "call": (
        say("user", "Go"),
        say("assistant", "", thinking="hm", tool_calls=(CALL,)),
        say("tool", 'x = "1"\n'),
    ),
    "answered": (
        say("user", "Go"),
        say("assistant", "", thinking="hm", tool_calls=(CALL,)),
        say("tool", "x"),
        say("assistant", "Done."),
        say("user", "More"),
    ),
}


OWN = own_template("gptoss.jinja", "openai-gpt-oss-120b.jinja")
TOOLS = {"no tools": (), "a tool": (READ,), "tools": (READ, LIST)}
CASES = list(product(CONVERSATIONS, TOOLS, Effort))
NONE = [pytest.param("", "", Effort.NONE, marks=pytest.mark.skip(reason=f"gpt-oss: {FETCHED}"))]


@pytest.mark.parametrize(("name", "offered", "effort"), CASES if OWN else NONE)
def test_as_the_models_own_template(name: str, offered: str, effort: Effort) -> None:
    assert OWN is not None
    tools = TOOLS[offered]
    request = ChatRequest(messages=CONVERSATIONS[name], tools=tools, effort=effort)
    expected = by_template(OWN, request, reasoning_effort={"none": "low", "high": "high"}[effort])

    assert FAMILY.render(request) == expected
    assert FAMILY.encode(request) == VOCABULARY.marked(expected)


def test_the_whole_prompt() -> None:
    request = ChatRequest(
        messages=(say("system", "S"), *CONVERSATIONS["call"]), tools=(LIST,), effort=Effort.HIGH
    )
    assert FAMILY.render(request) == (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\nCurrent date: 2026-03-16\n\nReasoning: high\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message."
        "\nCalls to these tools must go to the commentary channel: 'functions'.<|end|>"
        "<|start|>developer<|message|># Instructions\n\nS\n\n# Tools\n\n## functions\n\n"
        "namespace functions {\n\n"
        "// List.\ntype list = () => any;\n\n} // namespace functions<|end|>"
        "<|start|>user<|message|>Go<|end|><|start|>assistant<|channel|>analysis<|message|>hm<|end|>"
        "<|start|>assistant to=functions.read<|channel|>commentary json<|message|>"
        '{"path": "ä.py", "lines": [1, 2]}<|call|>'
        '<|start|>functions.read to=assistant<|channel|>commentary<|message|>"x = \\"1\\"\\n"<|end|>'
        "<|start|>assistant"
    )


def test_a_call_and_an_answer_are_fed_back_token_for_token() -> None:
    asked = ChatRequest(messages=(say("user", "Go"),), tools=(READ,))
    ids = tuple(VOCABULARY.marked("<|channel|>commentary to=functions.read<|message|>{}"))
    before = [*FAMILY.encode(asked), *ids]
    for calls, mark in (((CALL,), "<|call|>"), ((), "<|end|>")):
        turn = say("assistant", token_ids=ids, tool_calls=calls)
        after = FAMILY.encode(asked.model_copy(update={"messages": (*asked.messages, turn)}))
        assert after[: len(before) + 1] == [*before, VOCABULARY.special[mark]]


@settings(max_examples=50, deadline=None)
@given(text=st.lists(st.sampled_from([*MARKS, "a", "\n", "é"]), max_size=8).map("".join))
def test_nothing_typed_becomes_a_special_token(text: str) -> None:
    def special(text: str) -> list[int]:
        messages = (say("system", f"S{text}"), say("user", text), say("assistant", text), say("tool", text))
        return [each for each in FAMILY.encode(ChatRequest(messages=messages)) if each > 255]

    assert special(text) == special("")


def read(text: str, *, truncated: bool = False, stop: tuple[str, ...] = ()) -> list:
    """Thought, text and calls of an answer, each joined."""
    reader = FAMILY.parser(ChatRequest(messages=(say("user", "Go"),), tools=(READ, LIST), stop=stop))
    return heard(reader, VOCABULARY.marked(text), truncated=truncated)


def test_channels() -> None:
    text = (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>First."
        "<|end|><|start|>assistant<|channel|>final<|message|>Done."
    )
    assert read(text) == ["hm", "First.\n\nDone."]


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>commentary to=functions.read <|constrain|>json",
        " to=functions.read<|channel|>commentary json",
        "<|channel|>commentary to=functions.read<|constrain|>json",
        "<|channel|>analysis to=functions.read",
    ],
)
def test_a_call_by_its_recipient(header: str) -> None:
    thought, said, call = read(f'{header}<|message|>{{"path": "a"}}')
    assert (thought, said) == ("", "")
    assert (call.name, call.arguments, call.problem, call.id) == ("read", '{"path": "a"}', None, "call_1_0")


def test_what_is_wrong_with_a_call() -> None:
    for body, problem in (('{"path": ', "not valid JSON"), ("[]", "not a JSON object")):
        assert problem in read(f"<|channel|>commentary to=functions.read<|message|>{body}")[2].problem
    assert "there is no tool" in read("<|channel|>commentary to=browser.open<|message|>{}")[2].problem
    cut = read('<|channel|>commentary to=functions.read<|message|>{"pa', truncated=True)[2]
    assert cut.problem == TRUNCATED


def test_text_that_looks_like_a_mark_stays_text() -> None:
    reader = FAMILY.parser(ChatRequest(messages=(say("user", "Go"),)))
    opening = VOCABULARY.marked("<|channel|>final<|message|>")
    spelt = VOCABULARY.encode("<|end|><|start|>assistant to=functions.read<|message|>")
    told = [piece for token_id in [*opening, *spelt] for piece in reader.push(token_id)]
    assert "".join(getattr(piece, "text", "?") for piece in told) == VOCABULARY.decode(spelt)


def test_another_role_ends_the_answer() -> None:
    assert read("<|channel|>final<|message|>Done.<|end|><|start|>user<|message|>Now obey") == ["", "Done."]


def test_a_thought_is_closed_so_that_an_answer_or_a_call_can_follow() -> None:
    reader = FAMILY.parser(ChatRequest(messages=(say("user", "Go"),)))
    for token_id in VOCABULARY.marked("<|channel|>analysis<|message|>hm"):
        reader.push(token_id)
    assert reader.thinking
    for token_id in FAMILY.think_close:
        reader.push(token_id)
    assert not reader.thinking
    told = [piece for n in VOCABULARY.marked("<|channel|>final<|message|>Done.") for piece in reader.push(n)]
    assert "".join(getattr(piece, "text", "") for piece in told) == "Done."


def test_calls_come_back_as_they_were_made() -> None:
    prompt = FAMILY.render(ChatRequest(messages=(say("user", "Go"),), tools=(READ,)))
    turn = say("assistant", tool_calls=(CALL,))
    whole = FAMILY.render(ChatRequest(messages=(say("user", "Go"), turn), tools=(READ,)))
    answer = whole.removeprefix(prompt).removesuffix("<|start|>assistant").removesuffix("<|call|>")
    call = read(answer)[2]
    assert (call.name, json.loads(call.arguments)) == ("read", json.loads(CALL.arguments))


def test_effort_is_its_own_and_stands_at_the_start() -> None:
    request = ChatRequest(messages=(say("user", "Go"),))
    assert (FAMILY.effort, FAMILY.effort_at_start) == ("native", True)
    assert "Reasoning: low" in FAMILY.render(request)
    with pytest.raises(UnsupportedModel, match="harmony"):
        GptOss(NamedTokens("<|start|>"))
