"""Reading a malformed call that can mean one thing only.

Small models write code into JSON strings and forget to escape its quotes. The tool's schema says which
arguments there are, so where each string ends is rarely in doubt: at what looks like the next argument.
Where there are two ways to read it all the same, nothing is recovered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from engine.request import ToolCall

_OPENING = re.compile(r'"arguments"\s*:\s*\{')
_END = re.compile(r"\s*\}\s*\}?\s*\Z")
_MOST_READINGS = 1000
"""Quotes tried before the text is given up as hopeless."""


class _Hopeless(Exception):
    pass


def recovered(call: ToolCall, schema: dict[str, Any]) -> str | None:
    """The arguments as valid JSON text, where there is exactly one way to read them; else None.

    `schema` is the tool's: one flat object. Only the quotes inside string values are put right.
    """
    opening = _OPENING.search(call.arguments)
    start = opening.end() if opening else call.arguments.find("{") + 1
    if not call.problem or not start or not _END.search(call.arguments):
        return None
    try:
        readings = list(_Reader(call.arguments, schema.get("properties", {})).members(start, {}))
    except (_Hopeless, RecursionError):
        return None
    # What looks like an argument is one, if it can be: the other readings have it inside a string.
    most = max(map(len, readings), default=0)
    best = [reading for reading in readings if len(reading) == most]
    if len(best) != 1 or not best[0].keys() >= set(schema.get("required", [])):
        return None
    return json.dumps(best[0], ensure_ascii=False)


class _Reader:
    def __init__(self, text: str, properties: dict[str, Any]) -> None:
        self._text = text
        self._properties = properties
        self._readings = 0
        names = "|".join(re.escape(name) for name in properties)
        self._name = re.compile(rf'\s*"({names})"\s*:\s*')

    def members(self, at: int, read: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Every way to read the rest from the start of a member on, together with what was read."""
        named = self._name.match(self._text, at)
        if not named or named[1] in read:
            return
        name = named[1]
        for value, end in self._values(named.end(), self._properties[name].get("type")):
            whole = {**read, name: value}
            if _END.match(self._text, end):
                yield whole
            comma = re.compile(r"\s*,").match(self._text, end)
            if comma:
                yield from self.members(comma.end(), whole)

    def _values(self, at: int, kind: str | None) -> Iterator[tuple[Any, int]]:
        if kind != "string":
            try:
                yield json.JSONDecoder(strict=False).raw_decode(self._text, at)
            except ValueError:
                return
            return
        if self._text[at : at + 1] != '"':
            return
        end = self._text.find('"', at + 1)
        while end != -1:
            self._readings += 1
            if self._readings > _MOST_READINGS:
                raise _Hopeless
            value = _string(self._text[at + 1 : end])
            if value is not None:
                yield value, end + 1
            end = self._text.find('"', end + 1)


def _string(inside: str) -> str | None:
    """What stands between the quotes, each bare quote in it taken as content."""
    escaped = re.sub(r'(?s)(\\.)|"', lambda match: match[1] or '\\"', inside)
    try:
        return json.loads(f'"{escaped}"', strict=False)
    except ValueError:
        return None
