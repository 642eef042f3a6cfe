"""From the text that a model wrote to validated arguments, or to sentences that say what was wrong."""

from __future__ import annotations

import difflib
import json
from typing import Any

from pydantic import ValidationError

from tools.base import Arguments, Tool

_SHOWN = 30


class _Repeated(ValueError):
    pass


def validate(tool: Tool[Any], raw: str) -> Arguments | str:
    """The arguments in the JSON text `raw`, or what is wrong with it, one sentence a problem.

    Broken JSON is told apart from wrong fields; it never counts as an empty object. Line feeds and tabs
    that stand unescaped in a string are taken as they are: what they mean is not in doubt.
    """
    if not raw.strip():
        return f"The arguments of `{tool.name}` are empty: write a JSON object with {_fields(tool)}."
    try:
        value = json.loads(raw, strict=False, object_pairs_hook=_no_repeats)
    except json.JSONDecodeError as error:
        return _broken(tool, raw, error)
    except _Repeated as error:
        return f"The arguments of `{tool.name}` name {error} twice: give it once."
    except RecursionError:
        return f"The arguments of `{tool.name}` are nested too deeply: write a flat JSON object."
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}
        return (
            f"The arguments of `{tool.name}` are {kind.get(type(value), 'a number')}: "
            f"write a JSON object with {_fields(tool)}."
        )
    try:
        return tool.Arguments.model_validate(value)
    except ValidationError as error:
        return " ".join(_sentence(tool, problem) for problem in error.errors(include_url=False))


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    raise _Repeated(f"`{next(name for name in names if names.count(name) > 1)}`")


def _broken(tool: Tool[Any], raw: str, error: json.JSONDecodeError) -> str:
    place = raw[max(0, error.pos - _SHOWN) : error.pos] + " ⟨here⟩ " + raw[error.pos : error.pos + _SHOWN]
    reason = error.msg[0].lower() + error.msg[1:]
    ended = error.pos >= len(raw.rstrip()) or error.msg.startswith("Unterminated string")
    advice = "the text may have been cut off: " if ended else ""
    return (
        f"The arguments of `{tool.name}` are not valid JSON: {reason} at line {error.lineno} "
        f"column {error.colno}, at {json.dumps(place, ensure_ascii=False)}; {advice}"
        "nothing was run, write the whole call again."
    )


def _sentence(tool: Tool[Any], problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"`{tool.name}` needs the argument `{name}`."
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, tool.Arguments.model_fields, n=1)
        meant = f"did you mean `{close[0]}`?" if close else f"it takes {_fields(tool)}."
        return f"`{tool.name}` has no argument `{name}`; {meant}"
    message = problem["msg"].removeprefix("Value error, ")
    given = json.dumps(problem["input"], ensure_ascii=False, default=str)
    given = given if len(given) <= 2 * _SHOWN else given[: 2 * _SHOWN] + "…"
    where = f"The argument `{name}` of `{tool.name}`" if name else f"The arguments of `{tool.name}`"
    return f"{where}: {message[0].lower()}{message[1:]}, not {given}."


def _fields(tool: Tool[Any]) -> str:
    fields = tool.Arguments.model_fields.items()
    return ", ".join(f"`{name}`" if field.is_required() else f"`{name}` (optional)" for name, field in fields)
