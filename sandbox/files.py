"""The agent's end of the file server: one request at a time, restarted where it died."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.errors import FileProblem, SandboxError
from sandbox.inside.file_server import ABSENT, LARGEST, MOST_CHARACTERS
from sandbox.launcher import Launcher, Service
from sandbox.limits import Limits
from sandbox.policy import Policy
from sandbox.supervisor import INSIDE, INSIDE_THERE
from sandbox.toolchain import own_program, own_python

ANSWER_WITHIN = 60.0
"""Seconds; no answer for so long means that the server hangs."""
LIMITS = Limits(memory_bytes=1 << 30, disk_bytes=None)
"""The server's own: the user's are for commands, and may leave less than one file takes."""
LONGEST = 16 * MOST_CHARACTERS
"""Bytes of an answer's JSON: none has as many, however its characters are spelled."""
NO_ANSWER = (
    asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError, RecursionError,
)  # fmt: skip
"""What comes of a server that has ended, or says what none of ours does."""


def version(content: bytes | None) -> str:
    """Names what a file holds (None: no file), for a write that must not go over anything else."""
    return ABSENT if content is None else hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Entry:
    path: str
    """Relative to the workspace, with `/` between its parts."""
    kind: Literal["file", "dir", "link", "other"]
    size: int
    """Bytes of a file; 0 for anything else."""


class Files:
    """File access of one workspace, by a small program inside its sandbox."""

    def __init__(self, launcher: Launcher, policy: Policy) -> None:
        self._launcher = launcher
        self._root = policy.root
        self._programs = (INSIDE if launcher.bubblewrap is None else INSIDE_THERE).parent
        self._policy = policy
        self._service: Service | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: dict[str, Any], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """One request and its answer. Raises FileProblem with the server's sentence."""
        line = json.dumps({**request, "size": len(data)}).encode("ascii") + b"\n" + data
        async with self._turn:
            answer, content = await self._exchange(line)
        if "refused" in answer:
            raise FileProblem(answer["refused"])
        return answer, content

    async def close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.stop()

    async def _exchange(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        done = False
        try:
            for _attempt in range(2):
                with contextlib.suppress(*NO_ANSWER):
                    answer = await asyncio.wait_for(self._speak(line), ANSWER_WITHIN)
                    done = True
                    return answer
                await self.close()
            raise SandboxError(
                f"The sandbox's file server does not run with {own_python()}; install Ostro with another."
            )
        except TimeoutError:
            raise FileProblem(
                "The file did not answer within a minute; is it on a dead network share?"
            ) from None
        finally:
            # Half an answer may be left in the pipe, also where the caller was cancelled.
            if not done:
                await self.close()

    async def _speak(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        service = await self._running()
        service.writer.write(line)
        await service.writer.drain()
        told, size = map(int, (await service.reader.readuntil(b"\n")).split())
        # What it says is not believed: another program may be at the other end by now.
        if told > LONGEST or size > LARGEST:
            raise SandboxError(
                f"The sandbox's file server announced an answer of {told + size} bytes, more than any has; "
                "it was ended, so look at what the last commands did."
            )
        answer = json.loads(await service.reader.readexactly(told))
        if not isinstance(answer, dict):
            raise ValueError("no answer")
        return answer, await service.reader.readexactly(size)

    async def _running(self) -> Service:
        if self._service is not None and self._service.alive:
            return self._service
        await self.close()
        argv = own_program(self._programs, "inside.file_server", str(self._root))
        # No answer fills the reader's buffer (twice this), so that one left unread holds up no `stop`.
        self._service = await self._launcher.service(
            self._policy, argv, cwd=self._root, limits=LIMITS, line_bytes=LARGEST
        )
        return self._service
