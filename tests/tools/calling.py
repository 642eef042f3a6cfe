"""Calling a tool as the agent does: the arguments travel as JSON text."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tools import ToolContext, ToolResult, builtin_tools, validate

Files = dict[str, str | bytes]
OpenContext = Callable[..., Awaitable[ToolContext]]


async def call(ctx: ToolContext, tool_name: str, /, **arguments: Any) -> ToolResult:
    """The tool's answer, or the sentence that refuses the arguments."""
    tool = builtin_tools()[tool_name]
    parsed = validate(tool, json.dumps(arguments))
    if isinstance(parsed, str):
        return ToolResult(ok=False, text=parsed)
    return await tool.run(parsed, ctx)


async def content(ctx: ToolContext, path: str = "a.py") -> bytes:
    return await ctx.workspace.read(path)
