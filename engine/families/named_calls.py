"""Calls whose name and arguments come apart: what exactly is wrong with one, in words."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from engine.families.calls import LENIENT, TRUNCATED, ParsedCall, json_problem, loads, unknown_tool

__all__ = ["ParsedCall", "named_call", "listed_calls"]


def named_call(
    name: str, text: str, tools: Collection[str], *, truncated: bool = False, missing: str | None = None
) -> ParsedCall:
    """A call of `name` with the JSON text of its arguments; `missing` says which mark did not come.

    `truncated`: the answer's token budget ended it, so that it may only look whole.
    """
    name, text = name.strip(), text.strip()
    if truncated and loads(text) is None:
        return ParsedCall(name, text, TRUNCATED)
    if missing is not None:
        return ParsedCall(name, text, missing)
    if not name:
        return ParsedCall("", text, "the call has no name")
    return arguments_checked(name, text, tools)


def arguments_checked(name: str, text: str, tools: Collection[str]) -> ParsedCall:
    """The call as it is, or with the problem that its arguments or its name have."""
    text = text or "{}"
    try:
        value: Any = LENIENT.decode(text)
    except (ValueError, RecursionError) as error:
        return ParsedCall(name, text, json_problem(text, error))
    if not isinstance(value, dict):
        return ParsedCall(name, text, "the arguments of the call are not a JSON object")
    if loads(text) is None:  # raw newlines in its strings
        text = json.dumps(value, ensure_ascii=False)
    return ParsedCall(name, text, unknown_tool(name, tools))


def listed_calls(text: str, tools: Collection[str], *, truncated: bool = False) -> Sequence[ParsedCall]:
    """The calls of a JSON list of objects with `name` and `arguments`; at least one."""
    body = text.strip()
    try:
        value: Any = LENIENT.decode(body)
    except (ValueError, RecursionError) as error:
        return [ParsedCall("", body, TRUNCATED if truncated else json_problem(body, error))]
    calls = value if isinstance(value, list) else [value]
    if not calls:
        return [ParsedCall("", body, "the list of calls is empty")]
    return [_listed(call, body, tools) for call in calls]


def _listed(call: Any, body: str, tools: Collection[str]) -> ParsedCall:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        return ParsedCall("", body, 'the call is not a JSON object with "name" and "arguments"')
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return arguments_checked(call["name"], text, tools)
