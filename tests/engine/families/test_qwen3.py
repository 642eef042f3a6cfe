"""Qwen3's families: prompts as their own templates write them, calls in JSON and XML, thoughts by switch."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UnsupportedModel
from engine.families import family_of
from engine.families.calls import TRUNCATED
from engine.families.prompt import render_parts
from engine.families.qwen3 import Qwen3, instructions
from engine.request import (
    ChatRequest,
    Effort,
    ToolCall,
    ToolSpec,
)
from tests.engine.families.named_tokens import NamedTokens
from tests.engine.families.own_templates import ELSEWHERE, FETCHED, by_template, own_template
from tests.engine.families.talking import TURNS, heard, say

MARKS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<think>", "</think>",
    "<tool_response>", "</tool_response>",
)  # fmt: skip
VOCABULARY = NamedTokens(*MARKS)
FORMS = {
    "json": Qwen3(VOCABULARY, ("json", "switch")),
    "coder": Qwen3(VOCABULARY, ("coder", "never")),
    "xml": Qwen3(VOCABULARY, ("xml", "switch")),
}
OWN = {
    "json": own_template("qwen3.jinja", "Qwen-Qwen3-0.6B.jinja"),
    "coder": own_template(None, "Qwen3-Coder.jinja"),
    "xml": own_template("qwen3_5_think.jinja", "Qwen3.5-4B.jinja"),
}
READ = ToolSpec(
    name="read",
    description="Read a file; “quotes” & <tags>.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where it is "},
            "lines": {"type": "array", "items": {"type": "integer"}, "default": [1], "x-y $z": {"a": 1}},
            "whole": {"type": "boolean"},
            "what": {},
        },
        "required": ["path"],
    },
)
LIST = ToolSpec(name="list", description="", parameters={"type": "object", "properties": {}})
CALL = ToolCall(id="a", name="read", arguments='{"path": "ä.py",  "lines": [1, 2], "whole": true}')


CONVERSATIONS = {
    **TURNS,
    "call": (say("user", "Go"), say("assistant", "Look:", tool_calls=(CALL,)), say("tool", 'x = "1"\n')),
    "calls": (
        say("system", "S"),
        say("user", "Go"),
        say("assistant", "", thinking="hm", tool_calls=(CALL, CALL)),
        say("tool", "1"),
        say("tool", "2"),
    ),
    "answered": (
        say("user", "Go"),
        say("assistant", "", tool_calls=(CALL,)),
        say("tool", "x"),
        say("assistant", "Done."),
        say("user", "More"),
    ),
}


def in_qwens_words(own: str) -> str:
    """llama.cpp's copy of the coder's template has other words for the tools than the model's own."""
    if "following tools:" not in own:
        return own
    before, _, rest = own.replace("following tools:", "following functions:").partition("If you choose")
    words = render_parts(instructions(), VOCABULARY)
    return before + words.replace("\n", "\\n") + rest[rest.index("</IMPORTANT>") + len("</IMPORTANT>") :]


TOOLS = {"no tools": (), "a tool": (READ,), "tools": (READ, LIST)}
CASES = [case for form in FORMS if OWN[form] for case in product([form], CONVERSATIONS, TOOLS, Effort)]
NONE = [
    pytest.param(form, "", "", Effort.NONE, marks=pytest.mark.skip(reason=f"Qwen3, {form}: {why}"))
    for form, why in (("json", FETCHED), ("coder", ELSEWHERE), ("xml", FETCHED))
    if not OWN[form]
]


@pytest.mark.parametrize(("form", "name", "offered", "effort"), [*CASES, *NONE])
def test_as_the_models_own_template(form: str, name: str, offered: str, effort: Effort) -> None:
    family, tools = FORMS[form], TOOLS[offered]
    own = in_qwens_words(OWN[form] or "")
    request = ChatRequest(messages=CONVERSATIONS[name], tools=tools, effort=effort)
    expected = by_template(own, request, enable_thinking=effort is Effort.HIGH)
    opening = VOCABULARY.decode(family.opening(request))
    if form == "json" and effort is Effort.HIGH:
        opening = ""  # that the thought is opened is ours

    assert family.render(request) + opening == expected
    assert [*family.encode(request), *VOCABULARY.marked(opening)] == VOCABULARY.marked(expected)
    assert Qwen3(NamedTokens(*MARKS, chat_template=own)).form == form


def test_the_whole_prompt_of_the_coder() -> None:
    request = ChatRequest(messages=CONVERSATIONS["call"], tools=(LIST,))
    text = FORMS["coder"].render(request)
    assert text.startswith(
        "<|im_start|>system\nYou are Qwen, a helpful AI assistant that can interact with a computer to solve "
        "tasks.\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n"
        "<function>\n<name>list</name>\n"
        "<description></description>\n<parameters>\n</parameters>\n</function>\n</tools>\n\nIf you choose"
    )
    assert text.endswith(
        "</IMPORTANT><|im_end|>\n<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\nLook:\n\n<tool_call>\n"
        "<function=read>\n<parameter=path>\nä.py\n</parameter>\n<parameter=lines>\n[1, 2]\n</parameter>\n"
        "<parameter=whole>\nTrue\n</parameter>\n</function>\n</tool_call><|im_end|>\n<|im_start|>user\n"
        '<tool_response>\nx = "1"\n\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n'
    )


def test_thinking_is_opened_or_left_out() -> None:
    calm = ChatRequest(messages=(say("user", "Go"),))
    high = calm.model_copy(update={"effort": Effort.HIGH})
    family = FORMS["xml"]
    assert VOCABULARY.decode(family.opening(calm)) == "<think>\n\n</think>\n\n"
    assert VOCABULARY.decode(family.opening(high)) == "<think>\n"
    assert family.parser(high).thinking and not family.parser(calm).thinking
    assert family.effort == "native" and not family.effort_at_start
    always = Qwen3(VOCABULARY, ("json", "always"))
    assert always.parser(calm).thinking and always.effort == "unsupported"
    assert FORMS["coder"].opening(high) == ()


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(sorted(FORMS)), text=st.lists(st.sampled_from([*MARKS, "a", "\n"]), max_size=6))
def test_nothing_typed_becomes_a_special_token(form: str, text: list[str]) -> None:
    def special(text: str) -> list[int]:
        call = ToolCall(id="a", name="read", arguments=json.dumps({"path": text}))
        messages = (
            say("system", f"S{text}"), say("user", text), say("assistant", text, tool_calls=(call,)),
            say("tool", text), say("assistant", f"S{text}"),
        )  # fmt: skip
        ids = FORMS[form].encode(ChatRequest(messages=messages, tools=(READ,)))
        return [each for each in ids if each > 255]

    assert special("".join(text)) == special("")


def read(form: str, text: str, *, truncated: bool = False, effort: Effort = Effort.NONE) -> list:
    """Thought, text and calls of an answer, each joined."""
    request = ChatRequest(messages=(say("user", "Go"),), tools=(READ, LIST), effort=effort)
    reader = FORMS[form].parser(request)
    return heard(reader, VOCABULARY.marked(text), truncated=truncated)


def test_thought_text_and_calls() -> None:
    body = '<tool_call>\n{"name": "read", "arguments": {"path": "a"}}\n</tool_call>'
    thought, said, first, second = read(
        "json", f"hm\n</think>\n\nLook:\n\n{body}\n{body}", effort=Effort.HIGH
    )
    assert (thought, said) == ("hm", "Look:")
    assert (first.name, first.arguments, first.problem) == ("read", '{"path": "a"}', None)
    assert second.id == "call_1_1"


@pytest.mark.parametrize("form", FORMS)
def test_calls_come_back_as_they_were_made(form: str) -> None:
    family = FORMS[form]
    values = {"path": "a\n</parameter> b\n", "lines": [1, {"x": "é"}], "whole": False}
    call = ToolCall(id="a", name="read", arguments=json.dumps(values))
    asked = ChatRequest(messages=(say("user", "Go"),), tools=(READ,))
    turn = say("assistant", "Look:", tool_calls=(call, ToolCall(id="b", name="read", arguments="{}")))
    whole = family.render(asked.model_copy(update={"messages": (*asked.messages, turn)}))
    answer = whole.removeprefix(family.render(asked)).removesuffix("<|im_end|>\n<|im_start|>assistant\n")

    _, said, first, second = read(form, answer)

    assert said == "Look:"
    assert (first.name, json.loads(first.arguments), first.problem) == ("read", values, None)
    assert (second.arguments, second.problem) == ("{}", None)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("hello", "no <function=name>"),
        ("<function=read>\n<parameter=path>\na\n</function>", "no </parameter> after <parameter=path>"),
        ("<function=read>\n<parameter=path>\na\n</parameter>", "no </function>"),
        ("<function=fly>\n</function>", "there is no tool 'fly'"),
        ("<function=>\n</function>", "no name"),
    ],
)
def test_what_is_wrong_with_an_xml_call(body: str, problem: str) -> None:
    assert problem in read("xml", f"<tool_call>\n{body}\n</tool_call>")[2].problem


def test_a_call_that_the_budget_cut_off() -> None:
    for body in ("<function=read>\n<parameter=path>\na", "<func"):
        assert read("xml", f"<tool_call>\n{body}", truncated=True)[2].problem == TRUNCATED


def test_values_by_the_schema() -> None:
    def arguments(name: str, value: str) -> object:
        body = f"<function=read>\n<parameter={name}>\n{value}\n</parameter>\n</function>"
        return json.loads(read("xml", f"<tool_call>\n{body}\n</tool_call>")[2].arguments)[name]

    assert arguments("path", "12") == "12"
    assert arguments("path", "  two\n lines\n") == "  two\n lines\n"
    assert arguments("lines", "[1]") == [1]
    assert arguments("lines", "no list") == "no list"
    assert arguments("whole", "True") is True and arguments("whole", "false") is False
    assert arguments("what", "[1]") == "[1]"


def test_text_that_looks_like_a_mark_stays_text() -> None:
    reader = FORMS["xml"].parser(ChatRequest(messages=(say("user", "Go"),), tools=(READ,)))
    spelt = VOCABULARY.encode("a <tool_call><think> b")
    told = [piece for token_id in spelt for piece in reader.push(token_id)]
    assert "".join(getattr(piece, "text", "?") for piece in told) == "a <tool_call><think> b"


def test_families_by_architecture() -> None:
    for architecture, form in (("qwen3moe", "coder"), ("qwen3_next", "json"), ("qwen35moe", "xml")):
        family = family_of(architecture, VOCABULARY)
        assert isinstance(family, Qwen3) and family.form == form
    with pytest.raises(UnsupportedModel, match="no Qwen3 chat model"):
        Qwen3(NamedTokens("<|im_start|>", "<|im_end|>"))


def test_the_whole_prompt_in_json() -> None:
    request = ChatRequest(messages=CONVERSATIONS["calls"], tools=(LIST,))
    text = FORMS["json"].render(request)
    call = '{"name": "read", "arguments": {"path": "ä.py", "lines": [1, 2], "whole": true}}'
    assert text.startswith(
        "<|im_start|>system\nS\n\n# Tools\n\nYou may call one or more functions to assist with "
    )
    assert text.endswith(
        "<|im_start|>assistant\n<think>\nhm\n</think>\n\n"
        f"<tool_call>\n{call}\n</tool_call>\n<tool_call>\n{call}\n</tool_call>"
        "<|im_end|>\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_whole_prompt_of_qwen35() -> None:
    request = ChatRequest(messages=CONVERSATIONS["system"], tools=(LIST,))
    text = FORMS["xml"].render(request)
    assert text.startswith(
        "<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n"
        '{"type": "function", "function": {"name": "list", "description": "", '
        '"parameters": {"type": "object", "properties": {}}}}\n</tools>\n\nIf you choose'
    )
    assert text.endswith(
        "</IMPORTANT>\n\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
