"""Looking at the engine processes that a test started."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from engine import launch
from engine.locations import meeting


def running_hosts() -> int:
    """How many of the hosts this process started are still there."""
    return sum(child.poll() is None for child in launch._children)


async def all_left(seconds: float = 10.0) -> None:
    """Wait until every host this process started has left."""
    deadline = time.monotonic() + seconds
    while running_hosts():
        assert time.monotonic() < deadline, "the engine process is still there"
        await asyncio.sleep(0.02)


def socket_of(ref: str) -> Path:
    return meeting(Path(ref)).socket
