"""Tool calls as JSON text: where one ends, whether plain text is one, and what exactly is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
FENCE = "```"
_BLANKS = " \t\r\n"
_EXCERPT = 30
TRUNCATED = "truncated: the answer reached its token limit in the middle of this call; make it shorter"
# Literal newlines inside strings are no JSON, but small models write them and they mean one thing only.
LENIENT = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class ParsedCall:
    name: str
    arguments: str
    problem: str | None = None


class CallScanner:
    """Finds the end of a call in text that grows; each character is looked at once."""

    def __init__(self) -> None:
        self._at = 0
        self._in_string = False
        self._escaped = False
        self._open: list[str] = []

    def mark_end(self, text: str) -> int | None:
        """Where the closing mark begins, None while it is not there.

        A mark inside a JSON string is content; right after a raw newline, though, the string was never
        closed, as no JSON string holds one.
        """
        while self._at < len(text):
            if text[self._at] == "<":
                rest = text[self._at : self._at + len(CALL_CLOSE)]
                if CALL_CLOSE.startswith(rest) and rest != CALL_CLOSE:
                    return None
                unclosed = self._in_string and text[: self._at].rstrip(" \t").endswith("\n")
                if rest == CALL_CLOSE and (unclosed or not self._in_string):
                    return self._at
            self._read(text[self._at])
        return None

    def object_end(self, text: str, *, fenced: bool) -> int | None:
        """Just behind the object that `text` begins with (or before the closing fence); None so far."""
        while self._at < len(text):
            if fenced and text[self._at] == "\n":
                rest = text[self._at + 1 : self._at + 1 + len(FENCE)]
                if rest != FENCE and FENCE.startswith(rest):
                    return None
                if rest == FENCE:
                    return self._at
            self._read(text[self._at])
            if not self._open and not self._in_string:
                return self._at
        return None

    def missing(self, text: str) -> str | None:
        """The brackets that would close `text`; None where a string is open as well."""
        while self._at < len(text):
            self._read(text[self._at])
        return None if self._in_string else "".join(reversed(self._open))

    def _read(self, character: str) -> None:
        self._at += 1
        if self._escaped:
            self._escaped = False
        elif self._in_string:
            self._escaped = character == "\\"
            self._in_string = character != '"'
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._open.append("}" if character == "{" else "]")
        elif character in "}]" and self._open:
            self._open.pop()


def looks_like_call(text: str, tools: Collection[str]) -> int | None:
    """Whether text at the start of a line is a bare call, possibly in a fence: where its `{` stands.

    -1: it is not one, whatever follows. None: too short to tell. It is one only where it names a known
    tool and opens an arguments object, so that ordinary JSON answers stay text.
    """
    try:
        return _Cursor(text).call(tools)
    except IndexError:
        return None


class _Cursor:
    """Reads along a text; IndexError where the text ends before the question is decided."""

    def __init__(self, text: str):
        self._text = text
        self._at = 0

    def call(self, tools: Collection[str]) -> int:
        self._skip(" \t")
        if self._text[self._at] == FENCE[0] and not self._fence():
            return -1
        start = self._at
        if not (self._words("{", '"name"', ":", '"') and self._name(tools)):
            return -1
        return start if self._words(",", '"arguments"', ":", "{") else -1

    def _skip(self, among: str = _BLANKS) -> None:
        while self._text[self._at] in among:
            self._at += 1

    def _word(self, word: str) -> bool:
        for character in word:
            if self._text[self._at] != character:
                return False
            self._at += 1
        return True

    def _words(self, *words: str) -> bool:
        for n, word in enumerate(words):
            if n:
                self._skip()
            if not self._word(word):
                return False
        return True

    def _fence(self) -> bool:
        if not self._word(FENCE):
            return False
        while self._text[self._at] != "\n":
            if not (self._text[self._at].isalnum() or self._text[self._at] in "_ \t\r"):
                return False
            self._at += 1
        self._skip()
        return True

    def _name(self, tools: Collection[str]) -> bool:
        name = ""
        while self._text[self._at] != '"':
            name += self._text[self._at]
            if not any(tool.startswith(name) for tool in tools):
                return False
            self._at += 1
        self._at += 1
        if name not in tools:
            return False
        self._skip()
        return True


def read_calls(body: str, tools: Collection[str], *, truncated: bool = False) -> list[ParsedCall]:
    """The calls in what stood between the marks; at least one, with a `problem` where it is none.

    Closing brackets that are missing or too many at the end are put right: they can mean one thing only.
    In a truncated answer a missing bracket means missing content, so nothing is put right there.
    """
    calls: list[ParsedCall] = []
    at = _skip_blanks(body, 0)
    while at < len(body):
        if calls and body[at] in "}]":
            at = _skip_blanks(body, at + 1)
            continue
        try:
            value, end = LENIENT.raw_decode(body, at)
        except (ValueError, RecursionError) as error:
            repaired = None if truncated else _repaired(body[at:])
            if repaired is None:
                return [*calls, _malformed(body, at, error, truncated)]
            return [*calls, _checked(repaired, 0, tools)]
        if not isinstance(value, dict):
            problem = 'the call is not a JSON object with "name" and "arguments"'
            return [*calls, ParsedCall("", body[at:].strip(), problem)]
        calls.append(_checked(body, at, tools))
        at = _skip_blanks(body, end)
    return calls or [ParsedCall("", "", TRUNCATED if truncated else "the call is empty")]


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _repaired(text: str) -> str | None:
    missing = CallScanner().missing(text)
    if not missing:
        return None
    try:
        value = LENIENT.decode(text.rstrip() + missing)
    except (ValueError, RecursionError):
        return None
    return text.rstrip() + missing if isinstance(value, dict) else None


def _malformed(body: str, at: int, error: Exception, truncated: bool) -> ParsedCall:
    named = re.search(r'"name"\s*:\s*"([^"\\]*)"', body[at:])
    name = named[1] if named else ""
    if truncated:
        problem = TRUNCATED
    else:
        problem = json_problem(body, error)
    return ParsedCall(name, body[at:].rstrip(), problem)


def json_problem(body: str, error: Exception) -> str:
    """What a JSON decoder found wrong in `body`, with where."""
    if not isinstance(error, json.JSONDecodeError):
        return "the call is not valid JSON: it is nested too deeply"
    before, after = body[max(0, error.pos - _EXCERPT) : error.pos], body[error.pos : error.pos + _EXCERPT]
    return (
        f"the call is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}, "
        f"after {before!r}, before {after!r}"
    )


def _checked(body: str, at: int, tools: Collection[str]) -> ParsedCall:
    members = _members(body, at)
    name, _ = members.get("name", (None, ""))
    if not isinstance(name, str) or not name:
        return ParsedCall("", body[at:].strip(), 'the call has no "name"')
    value, text = members.get("arguments", (None, "{}"))
    if isinstance(value, str):  # the object once more as a string: some models quote it
        value, text = loads(value), value
    if value is None:
        value, text = {}, "{}"
    if not isinstance(value, dict):
        return ParsedCall(name, text, 'the "arguments" of the call are not a JSON object')
    if loads(text) is None:  # raw newlines in its strings
        text = json.dumps(value, ensure_ascii=False)
    return ParsedCall(name, text, unknown_tool(name, tools))


def unknown_tool(name: str, tools: Collection[str]) -> str | None:
    """The problem of a call of a tool that there is not."""
    return None if name in tools else f"there is no tool {name!r}; the tools are {', '.join(sorted(tools))}"


def loads(text: str) -> Any:
    """The value of strictly valid JSON, else None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _members(body: str, at: int) -> dict[str, tuple[Any, str]]:
    """Members of the valid object at `at`: each name's value, and its text exactly as it stands there."""
    members: dict[str, tuple[Any, str]] = {}
    at = _skip_blanks(body, at + 1)
    while body[at] != "}":
        name, at = LENIENT.raw_decode(body, at)
        start = _skip_blanks(body, _skip_blanks(body, at) + 1)
        value, at = LENIENT.raw_decode(body, start)
        members[name] = (value, body[start:at])
        at = _skip_blanks(body, at)
        if body[at] == ",":
            at = _skip_blanks(body, at + 1)
    return members
