"""`ostro undo` and `ostro redo`: the files of the repository, back and forth between checkpoints."""

from __future__ import annotations

import asyncio

from agent.undo import Moved, opened, redo, undo
from tui.printer import undo_line
from tui.standard_output import say


def undo_session(session: str | None, *, step: int | None, force: bool, unsafe: bool = False) -> int:
    """Goes back to a checkpoint, one back by default, and says what that changed. Raises Ending."""

    async def work() -> Moved:
        async with opened(session, unsafe=unsafe) as (workspace, journal, timeline):
            return await undo(workspace, journal, timeline, step=step, force=force)

    _say(asyncio.run(work()))
    say("`ostro redo` brings back what was there.")
    return 0


def redo_session(session: str | None, *, force: bool, unsafe: bool = False) -> int:
    """Takes the last undo back. Raises Ending."""

    async def work() -> Moved:
        async with opened(session, unsafe=unsafe) as (workspace, journal, timeline):
            return await redo(workspace, journal, timeline, force=force)

    _say(asyncio.run(work()))
    return 0


def _say(moved: Moved) -> None:
    say(undo_line(moved.event))
    for note in moved.notes:
        say(note)
