"""What is told where a run ended before its work was done: what it left, and the ways from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.ending import Done, Ending, Interrupted, LimitReached
from agent.listing import listed

if TYPE_CHECKING:
    from agent.session import Session

MOST_NAMED = 3


def going_on(session: Session, ending: Ending, changed: Sequence[str]) -> str:
    """A sentence to follow the reason; "" where neither way leads anywhere.

    Going on helps where time, steps or the user ended it, also where a conversation was left in order after a
    turn that was interrupted. Undoing is named wherever Ostro or the model may have changed something: what
    the command that fails writes by itself is no work of theirs.
    """
    if not session.start_tree or (isinstance(ending, Done) and not session.unfinished):
        return ""
    cut_short = isinstance(ending, LimitReached | Interrupted)
    acted = bool(changed) and bool(session.history or session.written)
    verb = "" if session.options.kind == "session" else f" {session.options.kind}"
    resume = f"`ostro{verb} --resume {session.id}` goes on"
    if acted:
        verified = "" if ending.verified else ", not verified"
        names = listed(changed, most=MOST_NAMED)
        return f"Changed{verified}: {names}; `ostro undo {session.id} --to 0` takes that back, {resume}."
    return f"Ostro changed no file; {resume}." if cut_short else ""
