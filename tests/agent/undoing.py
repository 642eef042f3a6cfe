"""A session that has worked, and the ways back and forth over its checkpoints."""

from __future__ import annotations

from pathlib import Path

from agent.events import Checkpoint
from agent.undo import Moved, opened, redo, undo
from tests.agent.running import Ran, run
from tests.chaos import Picture, picture
from tests.scripted_engine import Answer, ScriptedEngine, call, say

STEPS = [
    call("write", path="a.txt", content="one\n"),
    call("shell", command="mkdir -p empty && echo two > b.txt && chmod 600 b.txt && rm README"),
    call("write", path="a.txt", content="three\n"),
    say("Done."),
]


async def worked(repo: Path, answers: list[Answer] | None = None) -> tuple[Ran, list[Picture]]:
    """A session over the repository, and how the tree looked at each checkpoint."""
    engine = Watching(repo, answers or STEPS)
    ran = await run(repo, engine=engine)
    return ran, [*engine.seen, picture(repo)][: len(ran.of(Checkpoint))]


class Watching(ScriptedEngine):
    """Takes a picture of the repository at each request: after each step's checkpoint, that is."""

    def __init__(self, repo: Path, answers: list[Answer]) -> None:
        super().__init__(answers)
        self._repo = repo
        self.seen: list[Picture] = []

    def chat(self, request):
        self.seen.append(picture(self._repo))
        return super().chat(request)


async def back(session: str | None = None, step: int | None = None, *, force: bool = False) -> Moved:
    async with opened(session) as (workspace, journal, timeline):
        return await undo(workspace, journal, timeline, step=step, force=force)


async def forth(session: str | None = None, *, force: bool = False) -> Moved:
    async with opened(session) as (workspace, journal, timeline):
        return await redo(workspace, journal, timeline, force=force)
