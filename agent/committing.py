"""`--commit`: what a run that ended well has changed becomes one commit, in the sandbox's git service."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.ending import Done, Ending, EnvironmentProblem
from agent.events import Warn
from agent.identity import Identity
from agent.listing import listed
from agent.options import RunOptions
from agent.secrets import masked
from agent.version import version
from sandbox import Author, Head, HistoryProblem, SandboxError
from tools.plain_text import plain

if TYPE_CHECKING:
    from agent.session import Session

SUBJECT = 72
"""Characters of a commit's first line."""
MOST_NAMED = 3
NOTHING_RAN = "hooks and signing did not run"


class Committing:
    """Knows how the repository was when the session began, for only what changed since is to be committed."""

    def __init__(self, author: Identity | None, recorded: Mapping[str, Any] | None = None) -> None:
        """Without an `author` nothing is committed; `recorded` is what a resumed session's journal says."""
        self._author = author
        self._recorded = recorded

    async def begin(self, session: Session) -> None:
        """Looks at the repository before anything is run in it. Raises SandboxError."""
        if self._author is None or self._recorded is not None:
            return
        history = session.sandbox.history
        head = await history.head()
        uncommitted = await history.uncommitted()
        self._recorded = {"branch": head.branch, "commit": head.commit, "uncommitted": uncommitted}
        session.journal.append("repository", **self._recorded, sync=True)
        if head.in_progress:
            session.emit(
                Warn(text=f"A {head.in_progress} is in progress: until it is done, nothing is committed.")
            )

    async def finish(
        self, session: Session, ending: Ending, changed: Sequence[str]
    ) -> tuple[Ending, str | None]:
        """Commits the changed files where the run ended well; the ending that is to be told, and the id."""
        if self._author is None or not isinstance(ending, Done) or not changed:
            return ending, None
        if session.unfinished:
            why = f"Not committed, because the last turn is unfinished: {session.unfinished}"
            return Done(why, verified=ending.verified), None
        wanted = session.options.command or session.options.verify
        if wanted and not ending.verified:
            return Done("Not committed, because the command has not passed.", verified=ending.verified), None
        try:
            commit = await self._commit(session, self._author, changed, wanted if ending.verified else None)
        except SandboxError as problem:
            return EnvironmentProblem(f"Done, but not committed: {problem}", verified=ending.verified), None
        return Done(f"Committed as {commit[:12]}; {NOTHING_RAN}.", verified=ending.verified), commit

    async def _commit(
        self, session: Session, author: Identity, changed: Sequence[str], passed: Sequence[str] | None
    ) -> str:
        start = self._recorded
        if start is None:
            raise HistoryProblem("how the repository was at the start is not known.")
        if names := [path for path in changed if _covered(path, start["uncommitted"])]:
            raise HistoryProblem(
                f"{listed(names, most=MOST_NAMED)} had changes of yours before, which would go with it."
            )
        who = Author(author.name, author.email, f"@{int(time.time())} {time.strftime('%z')}")
        onto = Head(start["branch"], start["commit"])
        return await session.sandbox.history.commit(changed, message(session.options, passed), who, onto)


def message(options: RunOptions, passed: Sequence[str] | None) -> str:
    """One line that says what was asked, what passed, and who did it."""
    if options.kind == "fix":
        subject = f"Make `{shlex.join(options.command or [])}` pass"
    else:
        subject = options.task or "Changes of a session with Ostro"
    lines = [line for line in (" ".join(line.split()) for line in _clean(subject).splitlines()) if line]
    subject = lines[0] if lines else "Changes"
    parts = [subject if len(subject) <= SUBJECT else f"{subject[: SUBJECT - 1].rstrip()}…"]
    if passed:
        parts.append(f"Passes: {' '.join(_clean(shlex.join(passed)).split())}")
    parts.append(f"Generated-by: Ostro {version()}")
    return "\n\n".join(parts) + "\n"


def _clean(text: str) -> str:
    """Plain, without secrets and without halves of surrogate pairs, which git would not take for text."""
    return masked(plain(text)).encode("utf-8", "replace").decode()


def _covered(path: str, uncommitted: Sequence[str]) -> bool:
    """Whether it is one of them, or one of both is a folder that the other lies in."""
    return any(
        path == other or path.startswith(f"{other.rstrip('/')}/") or other.startswith(f"{path}/")
        for other in uncommitted
    )
