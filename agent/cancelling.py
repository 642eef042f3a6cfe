"""The end of a task that is not to go on."""

from __future__ import annotations

import asyncio


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancels a task and waits for it; again where something on its way swallowed the first cancel."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=2.0)
