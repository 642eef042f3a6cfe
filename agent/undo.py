"""Undo and redo: the files as a checkpoint has them, what they overwrite recorded first.

A move is journalled before and after: whatever kills it, the next undo or redo knows both states and goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from agent.commands import Redo, Undo
from agent.ending import Ending, EnvironmentProblem, Unsolved, WrongUsage
from agent.events import UndoEvent, Warn
from agent.journal import Journal, Record, find, read, repository_lock, sessions_folder, understood
from agent.listing import listed
from agent.options import RunOptions
from agent.prompts import prompt
from agent.timeline import Move, Point, Timeline
from engine.request import Message
from sandbox import ChangedMeanwhile, Sandbox, SandboxError, SnapshotMissing, Workspace, find_repository

if TYPE_CHECKING:
    from agent.session import Session

MOST_NAMED = 10
_GITS_OWN = "/.git/index"
"""Of a repository inside: git rewrites it whenever somebody looks at its status."""


@dataclass(frozen=True)
class Moved:
    move: Move
    files: list[str]
    notes: list[str]

    @property
    def event(self) -> UndoEvent:
        to = self.move.to
        return UndoEvent(kind=self.move.kind, step=to.step, label=to.label, tree=to.tree, files=self.files)


async def undo(
    workspace: Workspace,
    journal: Journal,
    timeline: Timeline,
    *,
    step: int | None = None,
    force: bool = False,
) -> Moved:
    """Puts the files back as they were at `step`, one checkpoint back by default.

    Raises WrongUsage (no such step, nothing to undo); Unsolved where a file differs from the last recorded
    state, unless `force`, or is changed at this moment; EnvironmentProblem. No file is changed then, but by
    a failure half way.
    """
    return await _move(workspace, journal, timeline, "undo", timeline.undo_target(step), force)


async def redo(workspace: Workspace, journal: Journal, timeline: Timeline, *, force: bool = False) -> Moved:
    """Brings back what the last undo overwrote. Raises as `undo` does."""
    return await _move(workspace, journal, timeline, "redo", timeline.redo_target(), force)


async def move(session: Session, command: Undo | Redo) -> None:
    """Between two turns: goes one way, and tells the model; what stands against it is a warning."""
    place = session.workspace, session.journal, session.timeline
    try:
        if isinstance(command, Undo):
            moved = await undo(*place, step=command.step, force=command.force)
        else:
            moved = await redo(*place, force=command.force)
    except Ending as ending:
        session.emit(Warn(text=ending.reason))
        return
    session.last_tree, session.verified = moved.move.to.tree, None
    session.emit(moved.event)
    for note in moved.notes:
        session.emit(Warn(text=note))
    if session.history:
        session.add(Message(role="user", content=told([moved.move], moved.files)))
    session.timeline.untold.clear()


def told(moves: list[Move], files: list[str] | None = None) -> str:
    """What the model should know of these moves."""
    to = moves[-1].to
    names = f" Changed: {_some(files)}." if files else ""
    return prompt("undone", how=moves[-1].kind, step=str(to.step), label=to.label) + names


@asynccontextmanager
async def opened(
    session: str | None, *, unsafe: bool = False
) -> AsyncIterator[tuple[Workspace, Journal, Timeline]]:
    """The workspace of a session (the latest one of the repository here by default), under its lock.

    `unsafe` opens it without a sandbox, whatever the session did.
    Raises WrongUsage (no such session), EnvironmentProblem (no repository, no sandbox, Ostro at work there).
    """
    path = find(session) if session else _latest(Path("."))
    records = read(path)
    options = _options(records)
    try:
        sandbox = await Sandbox.open(options.repo, unsafe=unsafe)
    except SandboxError as problem:
        raise EnvironmentProblem(str(problem)) from problem
    try:
        name = path.parent.name
        with repository_lock(sandbox.workspace.root, name):
            journal = Journal.reopen(name)
            try:
                with understood():
                    timeline = Timeline.read(journal.records())
                yield sandbox.workspace, journal, timeline
            finally:
                journal.close()
    finally:
        await sandbox.close()


async def _move(
    workspace: Workspace, journal: Journal, timeline: Timeline, kind: str, to: Point, force: bool
) -> Moved:
    assert timeline.at
    try:
        like = [timeline.at.tree, to.tree]
        now = await workspace.snapshot(like=like)
        foreign = await _foreign(workspace, timeline, now)
        if foreign and not force:
            raise Unsolved(
                f"Changed since the last checkpoint: {_some(sorted(foreign))}. Nothing was restored; "
                f"--force overwrites that, and `ostro {'redo' if kind == 'undo' else 'undo'}` brings it back."
            )
        files = await workspace.changed(now, to.tree, exact=True)
        pending = timeline.pending
        # What an unfinished move had saved is the whole state; what is here now is half of it.
        saved = pending.saved if pending and not foreign else now
        move = Move("undo" if kind == "undo" else "redo", to, saved, timeline.at.step)
        journal.append(
            kind, step=to.step, tree=to.tree, label=to.label, saved=saved, back=move.back, sync=True
        )
        timeline.begin(move)
        await workspace.restore(to.tree, expects=now)
    except ChangedMeanwhile as problem:
        raise Unsolved(str(problem)) from problem
    except SnapshotMissing as problem:
        raise EnvironmentProblem(
            f"The files of step {to.step} are not kept any more; checkpoints are dropped when they have not "
            "been used for 30 days."
        ) from problem
    except SandboxError as problem:
        raise EnvironmentProblem(str(problem)) from problem
    journal.append("restored", tree=to.tree, sync=True)
    timeline.finish()
    return Moved(move, files, workspace.notes())


async def _foreign(workspace: Workspace, timeline: Timeline, now: str) -> set[str]:
    """Paths that hold what neither the last checkpoint nor an unfinished move left there: the user's."""
    assert timeline.at
    differing = await _differing(workspace, timeline.at.tree, now)
    if differing and (move := timeline.pending):
        for known in (move.to.tree, move.saved):
            differing &= await _differing(workspace, known, now)
    return differing


async def _differing(workspace: Workspace, tree: str, now: str) -> set[str]:
    names = await workspace.changed(tree, now, exact=True)
    # The other name is that of a file which was being written when the process was killed.
    return {name for name in names if not name.endswith(_GITS_OWN) and "/.ostro-restore-" not in f"/{name}"}


def _latest(here: Path) -> Path:
    """The journal written to last, of those of the repository here that have a checkpoint."""
    try:
        root = find_repository(here).root
    except SandboxError as problem:
        raise EnvironmentProblem(str(problem)) from problem
    found = sorted(
        sessions_folder().glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for path in found:
        try:
            records = read(path)
            options = _options(records)
        except (WrongUsage, EnvironmentProblem):
            continue
        if _is_of(options.repo, root) and any(record["kind"] == "tree" for record in records):
            return path
    raise WrongUsage(
        f"There is no session of {root} with a checkpoint; `ostro sessions list` names those there are."
    )


def _is_of(repo: Path, root: Path) -> bool:
    try:
        return find_repository(repo).root == root
    except SandboxError:
        return False


def _options(records: list[Record]) -> RunOptions:
    given = [record["options"] for record in records if record["kind"] == "options"]
    if not given:
        raise WrongUsage("This session ended before it began, so there is nothing to undo.")
    try:
        return RunOptions.model_validate(given[-1])
    except ValidationError:
        raise WrongUsage("Another version of Ostro recorded this session; it cannot be undone.") from None


def _some(files: list[str]) -> str:
    return listed([name or "." for name in files], most=MOST_NAMED)
