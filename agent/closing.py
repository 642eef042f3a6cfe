"""The `end` of a run: how it ended, and the patch against the tree at its start."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import TYPE_CHECKING

from agent.asking import brief
from agent.ending import Done, Ending, EnvironmentProblem, Fault, Refused, Unsolved, no_space
from agent.events import End, Warn
from agent.going_on import going_on
from sandbox import SandboxError, TooLong

if TYPE_CHECKING:
    from agent.session import Session


async def end_of(session: Session, ending: Ending) -> End:
    """Whatever happened, an `end`: with the patch so far, where the workspace can still tell it."""
    ending, changed, patch = await _changes(session, ending)
    try:
        await session.left_behind.tell(session, changed)
    except Exception:
        ending = fault(session)

    denied = session.approvals.denied
    if denied and isinstance(ending, Done | Unsolved) and not ending.verified:
        ending = Refused(
            f"Ended unverified, and this was denied: {'; '.join(map(brief, denied))}.",
            verified=ending.verified,
        )
    ways = going_on(session, ending, changed)
    commit = None
    try:
        ending, commit = await session.committing.finish(session, ending, changed)
    except Exception:
        ending = fault(session)
    return End(
        outcome=ending.outcome,
        reason=" ".join(filter(None, [ending.reason, ways])),
        verified=ending.verified,
        steps=session.tally.steps,
        seconds=session.seconds,
        tokens=session.tally.tokens,
        effort=session.tally.effort,
        denied=denied,
        changed_files=changed,
        patch=patch,
        exit_code=ending.exit_code,
        commit=commit,
    )


async def _changes(session: Session, ending: Ending) -> tuple[Ending, list[str], str]:
    """The ending that is to be told, the changed files, and the patch: as much of them as can be told."""
    changed, patch = list[str](), ""
    if not session.start_tree:
        return ending, changed, patch
    what = "What the run has changed cannot be told"
    try:
        now, unwritable = await _tree(session)
        if unwritable and isinstance(ending, Done):
            ending = unwritable
        changed = await session.workspace.changed(session.start_tree, now)
        what = "The patch cannot be made, and is left out"
        patch = await session.workspace.diff(session.start_tree, now)
    except (SandboxError, Ending) as problem:
        with contextlib.suppress(Ending):
            session.emit(Warn(text=f"{what}: {problem}"))
        if isinstance(ending, Done) and not isinstance(problem, TooLong):
            ending = EnvironmentProblem(str(problem))
    except Exception:
        ending = fault(session)
    return ending, changed, patch


async def _tree(session: Session) -> tuple[str, Ending | None]:
    """The files as they are now; with the reason, where the journal cannot take them any more."""
    try:
        return await session.checkpoint("end"), None
    except Ending as unwritable:
        return await session.workspace.snapshot(), unwritable


def fault(session: Session) -> Ending:
    """For the exception that is being handled: a full disk, or a mistake of ours.

    Of that the traceback goes into the journal, and one sentence to the user.
    """
    if full := no_space(sys.exception()):
        return full
    what = "Ostro failed by a mistake of its own"
    try:
        session.journal.append("fault", traceback=traceback.format_exc(), sync=True)
    except Ending as unwritable:
        return Fault(f"{what}. {unwritable.reason}")
    return Fault(f"{what}; the journal {session.journal.path} holds the details.")
