"""Calls as Qwen3-Coder and Qwen3.5 write them: `<function=name>`, a `<parameter=name>` for each argument."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.families.calls import TRUNCATED, ParsedCall, unknown_tool
from engine.request import ToolSpec

_FUNCTION = re.compile(r"\s*<function=([^>\n]*)>")
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]*)>\n?")
_VALUE_END = re.compile(r"\n?</parameter>(?=\s*(?:<parameter=|</function>|$))")
_CLOSE = re.compile(r"\s*</function>\s*$")
LITERALS = {"True": True, "False": False, "None": None}
"""As the template of Qwen3-Coder shows them, Python's way."""


def xml_call(body: str, tools: Mapping[str, ToolSpec], *, truncated: bool = False) -> ParsedCall:
    """The call between the marks, its arguments as JSON. What is wrong with it is its `problem`.

    A value is JSON where the tool's schema wants no string and it can be read as such; else it is text.
    """
    opened = _FUNCTION.match(body)
    if opened is None:
        return ParsedCall("", body.strip(), TRUNCATED if truncated else "the call has no <function=name>")
    name, at = opened[1].strip(), opened.end()
    schemas = _schemas(tools.get(name))
    arguments: dict[str, Any] = {}
    while (parameter := _PARAMETER.match(body, at)) is not None:
        end = _VALUE_END.search(body, parameter.end())
        if end is None:
            return _broken(name, body, f"</parameter> after <parameter={parameter[1]}>", truncated)
        arguments[parameter[1].strip()] = _value(body[parameter.end() : end.start()], schemas, parameter[1])
        at = end.end()
    if _CLOSE.match(body, at) is None:
        return _broken(name, body, "</function> at its end", truncated)
    if not name:
        return ParsedCall("", body.strip(), "the call has no name")
    return ParsedCall(name, json.dumps(arguments, ensure_ascii=False), unknown_tool(name, tools))


def _broken(name: str, body: str, lacking: str, truncated: bool) -> ParsedCall:
    return ParsedCall(name, body.strip(), TRUNCATED if truncated else f"the call has no {lacking}")


def _schemas(tool: ToolSpec | None) -> Mapping[str, Any]:
    properties = tool.parameters.get("properties") if tool else None
    return properties if isinstance(properties, dict) else {}


def _value(text: str, schemas: Mapping[str, Any], name: str) -> Any:
    schema = schemas.get(name.strip())
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "string" or kind is None:
        return text
    if text.strip() in LITERALS:
        return LITERALS[text.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
