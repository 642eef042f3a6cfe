"""What a run leaves behind that the user should look at before going on, told in warnings before its `end`.

How the repository was is journalled at the first start, so that a session which was killed and resumed tells
of what happened before the kill as well.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from agent.ending import Ending
from agent.events import Warn
from agent.listing import listed
from sandbox import HistoryProblem, SandboxError

if TYPE_CHECKING:
    from agent.session import Session

ACTED_ON = frozenset(
    {"agents.md", "agents.override.md", "claude.md", "claude.local.md", "gemini.md"}
    | {"copilot-instructions.md", ".cursorrules", ".windsurfrules", ".clinerules", ".mcp.json"}
    | {".envrc", ".mise.toml", "mise.toml", ".npmrc", ".yarnrc.yml", "sitecustomize.py", "usercustomize.py"}
    | {".pre-commit-config.yaml", "lefthook.yml", ".lefthook.yml", ".gitattributes", ".gitmodules"}
)
"""Files that steer agents, or that other programs act on without being asked, in any folder."""
ACTED_ON_FOLDERS = frozenset(
    {".vscode", ".idea", ".zed", ".devcontainer", ".husky", ".githooks", ".circleci"}
    | {".claude", ".cursor", ".gemini", ".codex", ".windsurf", ".github/workflows", ".github/instructions"}
)
ACTS = "Other programs act on such files, or agents are steered by them: look at them before you go on."
ENTERED = (
    "Their hooks and configuration are whatever made them put there, and git in the repository around them "
    "may enter them too, with `git status` already: look at them before you run git."
)
ENDINGS = (".pth", ".code-workspace")


class LeftBehind:
    """Knows how the repository was when the session began. Refs count from the last time they were told."""

    def __init__(self, recorded: Mapping[str, Any] | None = None) -> None:
        """`recorded` is what a resumed session's journal says of it."""
        self._before: dict[str, Any] = dict(recorded or {})

    async def begin(self, session: Session) -> None:
        """Looks at the repository before anything is run in it. Raises SandboxError."""
        before = self._before
        if before.get("git_folders") is None and session.sandbox.describe()["tier"] != "none":
            before["git_folders"] = session.sandbox.repositories
        if before.get("refs") is None:
            before |= {"refs": None, "in_progress": None}
            try:  # what git cannot list does not stand in a run's way
                before["refs"] = dict(await session.sandbox.history.refs())
                before["in_progress"] = (await session.sandbox.history.head()).in_progress
            except HistoryProblem as problem:
                session.emit(Warn(text=f"Which refs this run moves cannot be told: {problem}"))
        session.journal.append("before", **before, sync=True)

    async def tell(self, session: Session, changed: Sequence[str]) -> None:
        """Warns of all that there is; what cannot be looked at is a warning as well."""
        with contextlib.suppress(Ending):  # an unwritable journal: the `end` says so
            async with _said(session, "Whether the run has made git repositories"):
                await self._tell_of_repositories(session)
            async with _said(session, "Whether the run has moved any ref"):
                await self._tell_of_refs(session)
            if names := [path for path in changed if acted_on(path)]:
                session.emit(Warn(text=f"Changed: {listed(names)}. {ACTS}"))

    async def _tell_of_repositories(self, session: Session) -> None:
        new = set(await session.sandbox.new_repositories())
        if (known := self._before.get("git_folders")) is not None:
            found = set(session.sandbox.repositories) - set(known)
            new |= {path for path in found if os.path.lexists(session.workspace.root / path)}
        if new:
            session.emit(Warn(text=f"New or changed git repositories: {listed(sorted(new))}. {ENTERED}"))

    async def _tell_of_refs(self, session: Session) -> None:
        before = self._before.get("refs")
        if before is None:
            return
        try:
            now = await session.sandbox.history.refs()
        except HistoryProblem as problem:
            raise HistoryProblem(f"{problem}{_kept(session)}") from None
        moved = [name for name in sorted({*now, *before}) if now.get(name) != before.get(name)]
        if moved and not session.approvals.committed:
            moves = listed([_move(name, before.get(name), now.get(name)) for name in moved], between="; ")
            kept = _kept(session) if before.keys() - now.keys() else ""
            session.emit(Warn(text=f"Moved during the run, without an approval: {moves}.{kept}"))
        going = (await session.sandbox.history.head()).in_progress
        if going and going != self._before.get("in_progress"):
            session.emit(
                Warn(text=f"A {going} is in progress that was not when the run began: finish it or abort it.")
            )


def acted_on(path: str) -> bool:
    """Whether other programs or agents act on a file of this name without being asked."""
    name, *above = reversed(PurePath(path.casefold()).parts)
    folders = {*above, *(f"{outer}/{inner}" for inner, outer in pairwise(above))}
    return name in ACTED_ON or name.endswith(ENDINGS) or not folders.isdisjoint(ACTED_ON_FOLDERS)


@contextlib.asynccontextmanager
async def _said(session: Session, what: str) -> AsyncIterator[None]:
    """What goes wrong in it is told, and ends nothing."""
    try:
        yield
    except (SandboxError, OSError) as problem:
        session.emit(Warn(text=f"{what} cannot be told: {problem}"))


def _kept(session: Session) -> str:
    """Where git's objects are that there were at the start, for a command may have deleted them."""
    place = session.sandbox.kept.get(".git")
    if place is None:
        return ""
    command = f"cp -rn {shlex.quote(str(place))}/. .git/objects/"
    return f" The objects it had when this process began are kept: `{command}`."


def _move(name: str, before: str | None, now: str | None) -> str:
    if before is None:
        return f"{name} is new"
    return f"{name} was {before[:40]} and is {now[:40] if now else 'gone'}"
