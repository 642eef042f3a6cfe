"""Tools as gpt-oss is told of them: declared in the manner of TypeScript, as its chat template does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from engine.request import ToolSpec

NAMES = {"number": "number", "integer": "number", "boolean": "boolean"}
LONGEST_ITEM = 50
INDENT = "\n" + " " * 16


def namespace(tools: Sequence[ToolSpec]) -> str:
    declared = "".join(text for tool in tools for text in _tool(tool))
    return f"## functions\n\nnamespace functions {{\n\n{declared}}} // namespace functions"


def _tool(tool: ToolSpec) -> Iterator[str]:
    yield f"// {tool.description}\ntype {tool.name} = "
    properties = tool.parameters.get("properties")
    if not properties:
        yield "() => any;\n\n"
        return
    yield "(_: {\n"
    for name, schema in properties.items():
        if schema.get("description"):
            yield f"// {schema['description']}\n"
        optional = "" if name in (tool.parameters.get("required") or []) else "?"
        yield f"{name}{optional}: {_type(schema)}{_default(schema)},\n"
    yield "}) => any;\n\n"


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return ""
    if schema.get("enum"):
        return f", // default: {schema['default']}"
    if schema.get("oneOf"):
        return f"// default: {schema['default']}"
    return f", // default: {json.dumps(schema['default'], ensure_ascii=False)}"


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    null = " | null" if schema.get("nullable") else ""
    if kind == "array":
        return _items(schema.get("items")) + null
    if isinstance(kind, list) and kind:
        return " | ".join(kind)
    if schema.get("oneOf"):
        return " | \n".join(map(_variant, schema["oneOf"]))
    if kind == "string":
        if schema.get("enum"):
            return '"' + '" | "'.join(map(str, schema["enum"])) + '"'
        return "string" + null
    if kind == "object":
        return _object(schema)
    return NAMES.get(str(kind), "any")


def _items(schema: dict[str, Any] | None) -> str:
    if not schema:
        return "any[]"
    inner = _type({"type": "string"}) if schema.get("type") == "string" else _type(schema)
    return "any[]" if inner == "object | object" or len(inner) > LONGEST_ITEM else f"{inner}[]"


def _variant(schema: dict[str, Any]) -> str:
    said = f"// {schema['description']}" if schema.get("description") else ""
    if "default" in schema:
        default = json.dumps(schema["default"], ensure_ascii=False)
        said += f"{' ' * 20}// default: {default}"
    return _type(schema) + said


def _object(schema: dict[str, Any]) -> str:
    properties = schema.get("properties")
    if not properties:
        return "object"
    required = schema.get("required") or []
    told = (
        f"{name}{'' if name in required else '?'}: {INDENT}{_type(each)}" for name, each in properties.items()
    )
    return "{\n" + ", ".join(told) + "}"
