"""Tools as Qwen3-Coder is told of them, in XML, as its chat template writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from engine.request import ToolSpec


def declarations(tools: Sequence[ToolSpec]) -> str:
    return "".join(text for tool in tools for text in _tool(tool))


def _tool(tool: ToolSpec) -> Iterator[str]:
    yield f"\n<function>\n<name>{tool.name}</name>\n<description>{tool.description.strip()}</description>"
    yield "\n<parameters>"
    properties = tool.parameters.get("properties")
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        yield f"\n<parameter>\n<name>{name}</name>"
        if "type" in schema:
            yield f"\n<type>{schema['type']}</type>"
        if "description" in schema:
            yield f"\n<description>{schema['description'].strip()}</description>"
        yield from _others(schema, ("name", "type", "description"))
        yield "\n</parameter>"
    yield from _others(tool.parameters, ("type", "properties"))
    yield "\n</parameters>\n</function>"


def _others(schema: dict[str, Any], told: tuple[str, ...]) -> Iterator[str]:
    """The keys of a schema that have no form of their own."""
    for key, value in schema.items():
        if key not in told:
            shown = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
            yield f"\n<{key}>{shown}</{key}>"
