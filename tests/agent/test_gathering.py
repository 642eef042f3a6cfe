from __future__ import annotations

import asyncio

from agent.gathering import Gathered


async def test_pieces_come_together_and_in_order():
    told: list[str] = []
    gathered = Gathered(told.append, delay=0.01)
    for dot in "....F":
        gathered.push(dot)
    assert told == []
    await asyncio.sleep(0.05)
    assert told == ["....F"]

    gathered.push("more")
    gathered.close()
    gathered.close()
    await asyncio.sleep(0.05)
    assert told == ["....F", "more"]
