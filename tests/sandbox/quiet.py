"""The machine's memory stands still while a test looks at it: what others do counts as the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sandbox.inside.memory import Memory, totals

T = TypeVar("T")
NOISE = 8 << 20
"""Bytes that others may take or give back while an attack runs: less than any attack has over its limit."""


def in_use() -> int:
    """Bytes of the machine's memory that are no process's own."""
    return Memory()._unowned(totals())


async def quiet() -> int:
    """Waits until nobody takes memory or gives some back, 15 seconds at most; how much is in use then."""
    seen = [in_use()]
    for _ in range(300):
        await asyncio.sleep(0.05)
        seen = [*seen[-3:], in_use()]
        if len(seen) == 4 and max(seen) - min(seen) < NOISE // 4:
            break
    return seen[-1]


async def undisturbed(attempt: Callable[[], Awaitable[T]]) -> T:
    """What came of an attempt in which as much memory was in use afterwards as before, at the latest of the
    third one: it is run again for what others did, whatever came of it, and never for what came of it."""
    for _ in range(2):
        before = await quiet()
        result = await attempt()
        if abs(await quiet() - before) < NOISE:
            return result
    await quiet()
    return await attempt()
