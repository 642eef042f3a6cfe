"""A real sandbox over a small repository."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.tools.calling import Files, OpenContext
from tools import OutputStore, ToolContext


@pytest.fixture
async def open_context(git_repo: Callable[..., Path]) -> AsyncIterator[OpenContext]:
    """Opens a tool context over a repository of these files; settings are ToolContext's fields."""
    async with AsyncExitStack() as stack:

        async def start(files: Files, **settings: Any) -> ToolContext:
            sandbox = await Sandbox.open(git_repo(files))
            stack.push_async_callback(sandbox.close)
            return ToolContext(workspace=sandbox.workspace, outputs=OutputStore(), **settings)

        yield start
