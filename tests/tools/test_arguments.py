from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import Arguments, builtin_tools, validate

TOOLS = builtin_tools()
EDIT = TOOLS["edit"]


def test_good_arguments_become_a_model() -> None:
    parsed = validate(EDIT, '{"path": "a.py", "old": "x", "new": "y"}')

    assert isinstance(parsed, Arguments)
    assert parsed.model_dump() == {"path": "a.py", "old": "x", "new": "y", "replace_all": False}


def test_a_line_feed_inside_a_string_is_taken_as_it_is() -> None:
    parsed = validate(EDIT, '{"path": "a.py", "old": "x\ny", "new": "\ty"}')

    assert isinstance(parsed, Arguments)
    assert parsed.model_dump()["old"] == "x\ny"


@pytest.mark.parametrize(
    "raw, said",
    [
        ('{"path": "a.py", "old": "x" "new": "y"}', "line 1 column 29"),
        ('{"path": "a.py",\n "old": x}', "line 2 column 9"),
        ('{"path": "a.py", "old": "x', "may have been cut off"),
        ('{"path": "a.py", "old": "x",', "may have been cut off"),
        ("", "are empty"),
        ("[1]", "are an array"),
        ('"{}"', "are a string"),
        ("3", "are a number"),
        ("null", "are null"),
        ('{"path": "a", "path": "b"}', "name `path` twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_said_with_its_place(raw: str, said: str) -> None:
    answer = validate(EDIT, raw)

    assert isinstance(answer, str)
    assert said in answer
    assert "`edit`" in answer


def test_broken_json_shows_the_place() -> None:
    answer = validate(EDIT, '{"path": "a.py", "old": "x" "new": "y"}')

    assert isinstance(answer, str)
    assert "⟨here⟩" in answer and "nothing was run" in answer


def test_each_wrong_field_gets_one_sentence() -> None:
    answer = validate(TOOLS["read"], '{"file": "a.py", "start": 0, "end": "x", "ends": 3}')

    assert answer == (
        "`read` needs the argument `path`. "
        "The argument `start` of `read`: input should be greater than or equal to 1, not 0. "
        "The argument `end` of `read`: input should be a valid integer, unable to parse string as an "
        'integer, not "x". '
        "`read` has no argument `file`; it takes `path`, `start` (optional), `end` (optional). "
        "`read` has no argument `ends`; did you mean `end`?"
    )


@given(st.text(max_size=60))
def test_any_text_gets_arguments_or_a_sentence(raw: str) -> None:
    answer = validate(EDIT, raw)

    assert isinstance(answer, Arguments) or answer.endswith(".")


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_schema_and_description_are_small_and_plain(name: str) -> None:
    tool = TOOLS[name]
    schema = tool.parameters()
    text = json.dumps(schema)

    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert all(word not in text for word in ('"title"', "$defs", "$ref", "anyOf", '"default": null'))
    assert all(value["description"] and value["type"] for value in schema["properties"].values())
    assert 0 < len(tool.description.split()) < 90


def test_the_eight_tools() -> None:
    assert list(TOOLS) == ["read", "list", "search", "edit", "write", "shell", "test", "output"]
    assert {name for name, tool in TOOLS.items() if tool.mutates} == {"edit", "write", "shell"}
