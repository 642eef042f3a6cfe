"""The goal of a run: a command that passes, and passes for the right reason.

An exit code of 0 does not count where what says what is right was changed (tests, their configuration, the
command's own script, an environment's packages), where fewer tests passed than before, or where nothing that
git sees explains it.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent.context import fenced
from agent.ending import Unsolved
from agent.listing import listed
from agent.prompts import prompt
from agent.search.protected import Protected, files_of_tests, is_test_file
from agent.search.selection import pytest_command
from agent.verify import Check, check_command

if TYPE_CHECKING:
    from agent.session import Session
    from sandbox import Workspace

_ABOUT_TESTS = re.compile(
    r"\b(?:add|write|update|extend|adapt|rewrite|rename|remove|delete|port|move|edit|change)\b[^.\n]*\btests?\b",
    re.IGNORECASE,
)


class Goal:
    """Asked after each attempt; `session.verified` is true only where it was reached."""

    def __init__(
        self,
        session: Session,
        command: list[str],
        *,
        first: Check | None = None,
        restless: Collection[str] = (),
    ) -> None:
        """`first` is how the command failed before anything was done, where it was run; `restless` are the
        files that it wrote by that: their changes say nothing."""
        self._session = session
        self._command = command
        self._first = first
        self._restless = frozenset(restless)
        self._since = time.time_ns()
        self._told = False
        self._last = first
        failing = first.report.failing if first else []
        self._protected = Protected(command, files_of_tests(failing), root=_root(session), cwd=session.cwd)

    async def __call__(self) -> str | None:
        """Runs the command; None where there is nothing more to say, else what the model should be told.

        Passing for a wrong reason is said once; whether it is still so at the end, `confirm` decides.
        """
        session = self._session
        check = self._last = await check_command(session, self._command)
        session.verified = False
        if not check.passed:
            report = "\n".join(filter(None, [check.explained, check.tail]))
            return prompt(
                "not_verified", command=shlex.join(self._command), how=check.how, report=fenced(report)
            )
        objection = await self._objection()
        session.verified = objection is None
        if objection is None or self._told:
            return None
        self._told = True
        return prompt("not_counted", objection=objection)

    async def confirm(self) -> None:
        """The command passes now; raises Unsolved where it does for a wrong reason."""
        objection = await self._objection()
        self._session.verified = objection is None
        if objection:
            raise Unsolved(f"The command passes, but {objection}.", verified=False)

    async def _objection(self) -> str | None:
        """Why passing does not count, to follow "The command passes, but"; None where it does."""
        session = self._session
        if self._last and self._last.passed and (lost := self._lost_tests(self._last)):
            return lost
        now = await session.workspace.snapshot()
        changed = await session.workspace.changed(session.start_tree, now)
        if self._first and self._restless.issuperset(changed):
            return (
                "no file that git sees has changed: the command is not steady, or depends on what git ignores"
            )
        touched = [*await self._touched(changed), *await self._touched_unseen()]
        if touched:
            return f"by a change of {listed(touched)}, which has to stay as it was"
        return None

    def _lost_tests(self, check: Check) -> str | None:
        before = self._first.report.passed if self._first else None
        if pytest_command(self._command) is None or before is None:
            return None
        passed = check.report.passed or 0
        if passed >= max(1, before):
            return None
        tests = "1 test" if passed == 1 else f"{passed} tests"
        return f"only {tests} passed, where {max(1, before)} or more have to"

    async def _touched(self, changed: list[str]) -> list[str]:
        """Protected files, of those that changed, that differ from the start in what protects them."""
        session = self._session
        suspicious = [
            path
            for path in changed
            if path not in self._restless and self._protected.covers(path) and not self._meant(path)
        ]
        if not suspicious:
            return []
        after = {path: await _bytes(session.workspace, path) for path in suspicious}
        fork = await session.workspace.fork()
        try:
            await fork.restore(session.start_tree, suspicious)
            before = {path: await _bytes(fork, path) for path in suspicious}
        finally:
            await fork.discard()
        return [
            path
            for path in suspicious
            if self._protected.violated(path, before[path], after[path])
            and not (self._first is None and before[path] is None and _is_new_test(path))
        ]

    async def _touched_unseen(self) -> list[str]:
        """The same for what no snapshot holds: files that git ignores, and virtual environments."""
        workspace = self._session.workspace
        newer = await workspace.newer(self._since)
        if not newer:
            return []
        seen = {entry.path for entry in await workspace.listing(recursive=True)}
        return [
            path
            for path in newer
            if path not in seen and (self._protected.covers(path) or workspace.in_environment(path))
        ]

    def _meant(self, path: str) -> bool:
        """Whether the task asks for a change of this file."""
        task = self._session.options.task or ""
        if not task:
            return False
        named = path in task or PurePosixPath(path).name in task
        return named or (is_test_file(path) and _ABOUT_TESTS.search(task) is not None)


def _is_new_test(path: str) -> bool:
    """A further test weakens none of the others; what configures them could."""
    return is_test_file(path) and PurePosixPath(path).stem not in ("conftest", "__init__")


def _root(session: Session) -> str:
    return str(session.workspace.root)


async def _bytes(workspace: Workspace, path: str) -> bytes | None:
    return await workspace.read(path) if await workspace.exists(path) else None
