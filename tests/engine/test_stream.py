"""The answer parser: the same deltas however the text is cut, calls recovered, mistakes named."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.families.stream import AnswerParser
from engine.families.telling import Piece
from engine.request import TextDelta, ThinkingDelta, ToolCallDelta

TOOLS = ("read", "edit", "shell")


def read(pieces: list[str], *, truncated: bool = False, tools=TOOLS, **options) -> list[Piece]:
    """Deltas of an answer, neighbours of a kind joined."""
    parser = AnswerParser(tools=tools, **options)
    told = [delta for piece in pieces for delta in parser.feed(piece)]
    joined: list[Piece] = []
    for delta in told + parser.finish(truncated=truncated):
        last = joined[-1] if joined else None
        if isinstance(delta, TextDelta) and isinstance(last, TextDelta):
            joined[-1] = TextDelta(text=last.text + delta.text)
        elif isinstance(delta, ThinkingDelta) and isinstance(last, ThinkingDelta):
            joined[-1] = ThinkingDelta(text=last.text + delta.text)
        else:
            joined.append(delta)
    return joined


def only_call(text: str, **options):
    (delta,) = read([text], **options)
    assert isinstance(delta, ToolCallDelta)
    return delta.call


GOOD = '<tool_call>\n{"name": "read", "arguments": {"path": "a.py"}}\n</tool_call>'


def test_text_then_call():
    text, call = read([f"I will read it.\n\n{GOOD}"])
    assert text == TextDelta(text="I will read it.")
    assert isinstance(call, ToolCallDelta)
    assert (call.call.name, call.call.arguments, call.call.problem) == ("read", '{"path": "a.py"}', None)


def test_plain_text_is_told_whole():
    text = "  Some *text*\n\nwith `code` < 3 and <b>.\n"
    assert read([text]) == [TextDelta(text=text)]


def test_text_streams_without_delay():
    parser = AnswerParser(tools=TOOLS)
    assert parser.feed("Hello") == [TextDelta(text="Hello")]
    assert parser.feed(" world") == [TextDelta(text=" world")]


def test_call_is_held_back_until_it_is_whole():
    parser = AnswerParser(tools=TOOLS)
    assert parser.feed(GOOD[:-1]) == []
    assert len(parser.feed(GOOD[-1])) == 1


def test_several_calls():
    first, second = read([f"{GOOD}\n{GOOD}"])
    assert isinstance(first, ToolCallDelta) and isinstance(second, ToolCallDelta)
    assert first.call.id != second.call.id
    both = GOOD.replace("\n</tool_call>", '\n{"name": "shell", "arguments": {}}\n</tool_call>')
    assert [delta.call.name for delta in read([both]) if isinstance(delta, ToolCallDelta)] == [
        "read",
        "shell",
    ]


def test_prose_after_a_call_ends_the_answer():
    parser = AnswerParser(tools=TOOLS)
    parser.feed(GOOD)
    assert not parser.done
    assert parser.feed("\n<tool_response>\nmade up") == []
    assert parser.done
    assert parser.feed(GOOD) == []


def test_malformed_call_says_what_and_where():
    call = only_call('<tool_call>\n{"name": "edit", "arguments": {"old": "say "hi""}}\n</tool_call>')
    assert call.name == "edit"
    assert call.problem is not None
    assert "line 2, column 45" in call.problem
    assert "hi" in call.problem


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ('{"name": "fly", "arguments": {}}', "no tool 'fly'; the tools are edit, read, shell"),
        ('{"arguments": {}}', 'no "name"'),
        ('{"name": "read", "arguments": [1]}', "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        ("", "empty"),
        ("read a.py", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_problems(body: str, part: str):
    call = only_call(f"<tool_call>\n{body}\n</tool_call>")
    assert call.problem is not None
    assert part in call.problem


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "read", "arguments": {"path": "a.py"}',  # a bracket missing
        '{"name": "read", "arguments": {"path": "a.py"}}}',  # one too many
        '{"name": "read", "arguments": "{\\"path\\": \\"a.py\\"}"}',  # quoted once more
        '{"arguments": {"path": "a.py"}, "name": "read"}',
    ],
)
def test_slips_with_one_meaning_are_put_right(body: str):
    call = only_call(f"<tool_call>\n{body}\n</tool_call>")
    assert call.problem is None
    assert call.name == "read"
    assert json.loads(call.arguments) == {"path": "a.py"}


def test_raw_newlines_in_strings_are_accepted():
    call = only_call('<tool_call>\n{"name": "edit", "arguments": {"new": "a\nb"}}\n</tool_call>')
    assert call.problem is None
    assert json.loads(call.arguments) == {"new": "a\nb"}


def test_arguments_stay_as_written():
    written = '{ "path":"a.py" ,"n": 1.50}'
    assert (
        only_call(f'<tool_call>{{"name": "read", "arguments": {written}}}</tool_call>').arguments == written
    )


def test_closing_mark_inside_a_string_is_content():
    call = only_call('<tool_call>\n{"name": "edit", "arguments": {"new": "x </tool_call> y"}}\n</tool_call>')
    assert call.problem is None
    assert json.loads(call.arguments) == {"new": "x </tool_call> y"}


def test_unclosed_string_does_not_swallow_the_mark():
    first, second = read([f'<tool_call>\n{{"name": "edit", "arguments": {{"new": "x\n</tool_call>\n{GOOD}'])
    assert isinstance(first, ToolCallDelta) and isinstance(second, ToolCallDelta)
    assert first.call.problem is not None
    assert second.call.problem is None


def test_truncated_call():
    for text in ('<tool_call>\n{"name": "edit", "arguments": {"new": "x', "<tool_call>", GOOD[:-20]):
        problem = only_call(text, truncated=True).problem
        assert problem is not None
        assert problem.startswith("truncated")


def test_call_left_open_by_the_model_is_still_a_call():
    assert only_call(GOOD.removesuffix("</tool_call>")).problem is None


def test_call_whole_at_the_limit_is_a_call():
    assert only_call(GOOD.removesuffix("</tool_call>"), truncated=True).problem is None


CALL = '{"name": "read", "arguments": {"path": "a.py"}}'


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"```json\n{CALL}\n```",
        f"```\n{CALL}\n```\n",
        f"  {CALL}\n</tool_call>",
        CALL.replace(" ", "\n"),
    ],
)
def test_bare_calls_are_recovered(text: str):
    call = only_call(text)
    assert (call.name, call.problem) == ("read", None)


def test_bare_call_after_prose():
    text, call = read([f"Let me look:\n```json\n{CALL}\n```"])
    assert text == TextDelta(text="Let me look:")
    assert isinstance(call, ToolCallDelta)


def test_malformed_bare_call_in_a_fence():
    call = only_call('```json\n{"name": "edit", "arguments": {"old": "a "b""}}\n```')
    assert call.name == "edit"
    assert call.problem is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Bob", "arguments": {"age": 3}}',
        '{"name": "read"}',
        '{"name": "read", "arguments": [1]}',
        '{"path": "a.py"}',
        '```python\nread("a.py")\n```\n',
        f"inline {CALL}",
        "{",
        "```",
    ],
)
def test_other_json_stays_text(text: str):
    assert read([text]) == [TextDelta(text=text)]


def test_without_tools_marks_are_text():
    assert read([GOOD], tools=()) == [TextDelta(text=GOOD)]


def test_thinking_opened_by_the_prompt():
    assert read(["\nhm,\nso\n</think>\n\nYes."], thinking=True) == [
        ThinkingDelta(text="hm,\nso"),
        TextDelta(text="Yes."),
    ]


def test_thinking_opened_by_the_model():
    thought, text = read(["<think>hm</think>Yes"])
    assert (thought, text) == (ThinkingDelta(text="hm"), TextDelta(text="Yes"))


def test_second_thought():
    assert read(["a</think>\n\n<think>\nb</think>\n\nc"], thinking=True) == [
        ThinkingDelta(text="ab"),
        TextDelta(text="c"),
    ]


def test_thinking_mark_in_the_middle_is_text():
    assert read(["so <think>x</think>"]) == [TextDelta(text="so <think>x</think>")]


def test_call_in_unclosed_thinking():
    thought, call = read([f"I read `<tool_call>` first.\n{GOOD}"], thinking=True)
    assert thought == ThinkingDelta(text="I read `<tool_call>` first.")
    assert isinstance(call, ToolCallDelta)


def test_thinking_flag_follows_the_text():
    parser = AnswerParser(thinking=True)
    parser.feed("a </thi")
    assert parser.thinking
    parser.feed("nk>")
    assert not parser.thinking


def test_stop_string_across_pieces():
    parser = AnswerParser(stop=["END"])
    assert parser.feed("a E") == [TextDelta(text="a ")]
    assert parser.feed("xE") == [TextDelta(text="Ex")]
    assert parser.feed("ND b") == []
    assert parser.done and parser.stopped
    assert parser.finish() == []


def test_stop_strings_do_not_apply_to_thinking_or_calls():
    thought, call = read([f"a.py\n</think>\n{GOOD}"], thinking=True, stop=["a.py"])
    assert isinstance(thought, ThinkingDelta) and isinstance(call, ToolCallDelta)


FRAGMENTS = [
    *"ab {}[]\"\\:,\n` <", "<tool_call>", "</tool_call>", "\n", "<think>", "</think>", "```json\n", "```",
    CALL, GOOD, '{"name": "read", "arguments": {', '"}}', "STOP", "ST", "<tool", '{"name": "', "é🦘",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    text=st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join),
    cuts=st.lists(st.integers(0, 200), max_size=30),
    tools=st.sampled_from([TOOLS, ()]),
    thinking=st.booleans(),
    truncated=st.booleans(),
    stop=st.sampled_from([(), ("STOP",), ("\n\n", "STOP", "T<")]),
)
@example(text="\n<tool_call>", cuts=[1], tools=TOOLS, thinking=True, truncated=False, stop=())
@example(text=f"a\n \n{GOOD}\n", cuts=[1, 2, 3, 4], tools=TOOLS, thinking=False, truncated=False, stop=())
def test_any_cut_tells_the_same(text, cuts, tools, thinking, truncated, stop):
    options = {"tools": tools, "thinking": thinking, "truncated": truncated, "stop": stop}
    whole = read([text], **options)
    borders = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    assert read([text[a:b] for a, b in itertools.pairwise(borders)], **options) == whole
    assert read(list(text), **options) == whole


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), tools=st.sampled_from([TOOLS, ()]))
def test_ordinary_text_is_never_changed(text: str, tools):
    if text.lstrip().startswith("<think>"):
        return
    assert "".join(delta.text for delta in read([text], tools=tools) if isinstance(delta, TextDelta)) == text
