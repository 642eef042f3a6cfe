"""A process to be killed while its candidate is being verified. Arguments: repository, session file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.opening import open_session
from agent.options import RunOptions
from tests.agent.search.knowing_engine import KnowingEngine
from tests.agent.test_fix import RIGHT

# Passes in a copy of the repository, and hangs in the repository itself once the candidate stands there.
HANGS = (
    "python -B -c 'from prices import price; assert price(10, True) == 20' && { test ! -e mark || sleep 60; }"
)


async def main(repo: Path, session_file: Path) -> None:
    async def open_engine() -> KnowingEngine:
        return KnowingEngine(RIGHT)

    options = RunOptions(kind="fix", repo=repo, command=["sh", "-c", HANGS], model="knowing")
    async with open_session(options, open_engine) as session:
        async for event in session.run():
            if event.type == "start":
                session_file.write_text(session.id)
            if event.type == "candidate" and event.verdict == "passed":
                (repo / "mark").touch()
            print(event.type, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
