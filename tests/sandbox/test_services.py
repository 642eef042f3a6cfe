"""A program that goes on beside the commands: where it listens, and that it is gone when it is stopped."""

from __future__ import annotations

import asyncio
import os
import sys

from sandbox import Sandbox

LISTENS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
input()
"""


async def test_where_a_service_listens(box: Sandbox) -> None:
    room, workspace = box._room, box.workspace
    argv = [os.path.realpath(sys.executable), "-c", LISTENS]
    service = await room.launcher.service(workspace._policy, argv, cwd=workspace.root, limits=room.limits)
    port = int(await service.reader.readline())
    # Three who ask at once: their questions reach the keeper in one piece, which is no order to end.
    assert await asyncio.gather(*(service.ports() for _ in range(3))) == [[port]] * 3
    assert await service.ports() == [port]
    assert service.alive
    await service.stop()
    assert (service.alive, await service.ports()) == (False, [])
