"""`ostro fix -- CMD`: run the command, and where it fails, work until it passes.

Cheap before dear: the sandbox's own explanation, then edits where the model is surprised by the code,
then functions written anew, then the tool loop. The command alone decides.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent.context import fenced
from agent.ending import EnvironmentProblem, Refused, Unsolved
from agent.events import AnyEvent, Warn
from agent.loop import Until, tool_loop
from agent.prompts import prompt
from agent.search.case import Case, investigate
from agent.search.minimise import minimise
from agent.search.protected import Protected, files_of_tests
from agent.search.repair import Repair
from agent.search.selection import QUIET
from agent.search.trial import Trials, verdict
from agent.session import Session
from agent.verify import Check, check_command
from engine.errors import EngineDied
from engine.request import Message
from sandbox import Workspace
from tools.pytest_report import parse_report

SEARCH_SECONDS = 300.0
REWRITE_SECONDS = 150.0
SEARCH_SHARE = 0.5
"""Of the time limit, where there is one."""
REWRITE_SHARE = 0.25
ROUNDS = 6
"""Failed checks of the tool loop before it gives up."""
MOST_PARTS_SECONDS = 120.0

_NO_SCRIPT = re.compile(r"(?:can't open file|cannot open|Cannot find module) ['\"]?([^'\":\n]+)")
_NO_MODULE = re.compile(r"^\S*python[\d.]*(?:\.exe)?: No module named '?([\w.]+)'?$", re.MULTILINE)


async def fix(session: Session) -> AsyncIterator[AnyEvent]:
    """Ends normally where the command passes; raises Ending (EnvironmentProblem, Unsolved …) else."""
    command = session.options.command
    if not command:
        raise EnvironmentProblem("There is no command to run; write it after `--`.")
    yield session.step("verify")
    check = await check_command(session, command)
    session.verified = check.passed
    if check.passed:
        return
    _raise_if_explained(check)
    if session.options.approve == "read-only":
        raise Refused(
            "The command fails, and nothing may be written with --approve read-only.", verified=False
        )

    case: Case | None = None
    if not session.history:
        yield session.step("localise")
        async with _forks(session.workspace) as forks:
            case = await investigate(session.workspace, forks[0], command, check.completed)
            async for event in _search(session, case, forks):
                yield event
        if session.verified:
            async for event in _minimise(session, case):
                yield event
            return

    async for event in _with_tools(session, check, case):
        yield event


def _raise_if_explained(check: Check) -> None:
    """What no edit of the repository can repair."""
    if check.explained:
        raise EnvironmentProblem(check.explained)
    if check.completed.exit_code in (126, 127):
        raise EnvironmentProblem(
            f"The command `{shlex.join(check.command)}` could not be run: {_last_line(check)}"
        )
    missing = _NO_MODULE.search(check.completed.output)
    if missing and "-m" in check.command and missing[1] in check.command:
        raise EnvironmentProblem(
            f"{check.command[0]} has no module {missing[1]}; install it, or name the Python that has it."
        )
    script = _NO_SCRIPT.search(check.completed.output)
    if script and (word := _word_for(script[1], check.command)):
        raise EnvironmentProblem(
            f"There is no file {word} to run; correct the command, or start where it is."
        )
    if check.report.collected_none and not check.report.failing and check.completed.exit_code in (4, 5):
        why = check.report.first_error.split("\n")[0]
        raise EnvironmentProblem(f"The command ran no tests: {why or _last_line(check)}")


def _word_for(path: str, command: Sequence[str]) -> str | None:
    """The word of the command that names this file, as its program understood it."""
    return next((word for word in command[1:] if word and f"/{path}".endswith(f"/{word}")), None)


def _last_line(check: Check) -> str:
    lines = [line for line in check.completed.output.split("\n") if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing."


@asynccontextmanager
async def _forks(workspace: Workspace) -> AsyncIterator[list[Workspace]]:
    """As many forks as trials run side by side."""
    forks: list[Workspace] = []
    try:
        for _ in range(min(2, os.cpu_count() or 1)):
            forks.append(await workspace.fork())
        yield forks
    finally:
        for fork in forks:
            await fork.discard()


async def _search(session: Session, case: Case, forks: Sequence[Workspace]) -> AsyncIterator[AnyEvent]:
    """The rungs before the tool loop; `session.verified` tells whether one of them held."""
    repair = Repair(session, case, Trials(case.judge, case.originals, forks))
    limit = session.options.time_limit
    search = limit * SEARCH_SHARE if limit else SEARCH_SECONDS
    rewrite = limit * REWRITE_SHARE if limit else REWRITE_SECONDS
    try:
        async for event in repair.by_surprise(search):
            yield event
        if repair.winner is None:
            async for event in repair.by_rewriting(rewrite):
                yield event
    except EngineDied as error:
        yield Warn(text=f"{error} It is started again.")
        await session.reopen_engine()


async def _minimise(session: Session, case: Case | None) -> AsyncIterator[AnyEvent]:
    """Leaves out what the command passes without, and says so by one more run of the command."""
    command = session.options.command or []
    judge = case.judge if case else None

    async def passes(fork: Workspace) -> bool:
        session.check()
        completed = await fork.run(command, env=QUIET, seconds=MOST_PARTS_SECONDS)
        if judge is None:
            return completed.exit_code == 0
        return verdict(completed, parse_report(completed.output), judge, whole=True) == "passed"

    now = await session.workspace.snapshot()
    yield session.step("minimise")
    if not await minimise(session.workspace, session.start_tree, now, passes):
        return
    check = await check_command(session, command)
    if not check.passed:
        yield Warn(text="What was left out of the change was needed after all; it was put back.")
        await session.workspace.restore(now)
        check = await check_command(session, command)
    session.verified = check.passed
    await session.checkpoint("minimised")


async def _with_tools(session: Session, check: Check, case: Case | None) -> AsyncIterator[AnyEvent]:
    """The last rung: the model with its tools, the command run after each edit."""
    messages: list[Message] = []
    if not session.history:
        messages.append(Message(role="system", content=prompt("system", repo=str(session.workspace.root))))
        text = prompt(
            "search_tools",
            command=shlex.join(check.command),
            how=check.how,
            report=fenced(check.tail),
            suspects=_hint(case),
        )
        messages.append(Message(role="user", content=text))
    async for event in tool_loop(
        session, messages, until=_until(session, check), after_edits=True, rounds=ROUNDS
    ):
        yield event
    async for event in _minimise(session, case):
        yield event
    touched = await _touched(session, check)
    if touched:
        session.verified = False
        raise Unsolved(f"The command passes, but by a change of {', '.join(touched)}.", verified=False)


def _hint(case: Case | None) -> str:
    if case is None or not case.suspects:
        return ""
    lines = [f"- {s.name} in {s.file}, line {s.start_line}" for s in case.suspects[:3]]
    return "\n\nThe failing tests run mostly through:\n" + "\n".join(lines)


def _until(session: Session, first: Check) -> Until:
    """Passing counts at once, unless it was reached by a change of what is protected: that is said once."""
    told = False

    async def until() -> str | None:
        nonlocal told
        check = await check_command(session, first.command)
        session.verified = check.passed
        if not check.passed:
            return prompt(
                "not_verified", command=shlex.join(check.command), how=check.how, report=fenced(check.tail)
            )
        touched = await _touched(session, first)
        if not touched or told:
            return None
        told = True
        session.verified = False
        return prompt("search_protected", files=", ".join(touched))

    return until


async def _touched(session: Session, first: Check) -> list[str]:
    """Protected files that differ from the start in what protects them."""
    now = await session.workspace.snapshot()
    protected = Protected(first.command, files_of_tests(first.report.failing))
    changed = await session.workspace.changed(session.start_tree, now)
    suspicious = [path for path in changed if protected.covers(path)]
    if not suspicious:
        return []
    after = {path: await _bytes(session.workspace, path) for path in suspicious}
    fork = await session.workspace.fork()
    try:
        await fork.restore(session.start_tree, suspicious)
        before = {path: await _bytes(fork, path) for path in suspicious}
    finally:
        await fork.discard()
    return [path for path in suspicious if protected.violated(path, before[path], after[path])]


async def _bytes(workspace: Workspace, path: str) -> bytes | None:
    return await workspace.read(path) if await workspace.exists(path) else None
