"""A process to be killed: runs, or resumes, a scripted session. Arguments: repository, script, session file.

The script names the files that are to be written, one a step; the engine looks at the history to know
which is next, as a model would.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from agent.opening import open_session
from agent.options import RunOptions
from engine.request import ChatRequest, Delta, TextDelta
from tests.scripted_engine import ScriptedEngine, call, say


class NextFile(ScriptedEngine):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        written = sum(
            made.name == "write" and answer.content.startswith("Tool output")
            for message in request.messages
            for made in message.tool_calls
            for answer in request.messages
            if answer.tool_call_id == made.id
        )
        left = self._names[written:]
        step = len(request.messages)
        answer = (
            call("write", path=left[0], content=f"{left[0]} at {step}\n") if left else say("All written.")
        )
        yield TextDelta(text=" ")
        await asyncio.sleep(0.005)
        for delta in self._deltas(request, answer):
            yield delta


async def main(repo: Path, names: list[str], session_file: Path) -> int:
    engine = NextFile(names)

    async def open_engine() -> ScriptedEngine:
        return engine

    if session_file.exists():
        options = RunOptions(kind="run", model="scripted", resume=session_file.read_text())
    else:
        options = RunOptions(kind="run", repo=repo, task="Write the files.", model="scripted")
    async with open_session(options, open_engine) as session:
        async for event in session.run():
            if event.type == "start":
                session_file.write_text(session.id)
            print(event.type, flush=True)
            if event.type == "end":
                return event.exit_code
    return 70


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))))
