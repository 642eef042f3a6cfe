"""What the model may do. Every tool reaches the repository through the sandbox alone."""

from __future__ import annotations

from typing import Any

from tools.arguments import validate
from tools.base import Arguments, Tool, ToolContext, ToolResult
from tools.edit import Edit
from tools.list import List
from tools.output import Output
from tools.outputs import NotKept, OutputStore
from tools.read import Read
from tools.search import Search
from tools.shell import Shell
from tools.test import Test
from tools.write import Write

__all__ = [
    "Arguments",
    "NotKept",
    "OutputStore",
    "Tool",
    "ToolContext",
    "ToolResult",
    "builtin_tools",
    "validate",
]


def builtin_tools() -> dict[str, Tool[Any]]:
    """A fresh set of every tool, by the name that the model calls it."""
    every = (Read(), List(), Search(), Edit(), Write(), Shell(), Test(), Output())
    return {tool.name: tool for tool in every}
