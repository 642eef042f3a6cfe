"""`ostro fix -- CMD`: run the command, and where it fails, work until it passes.

Cheap before dear: the sandbox's own explanation, then edits where the model is surprised by the code,
then functions written anew, then the tool loop. The command alone decides.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent.context import fenced
from agent.ending import EnvironmentProblem, LimitReached, Refused
from agent.events import AnyEvent, Warn
from agent.goal import Goal
from agent.instructions import system_message
from agent.loop import tool_loop
from agent.prompts import prompt
from agent.search.case import Case, investigate
from agent.search.minimise import minimise
from agent.search.repair import Repair
from agent.search.selection import QUIET
from agent.search.trial import Trials, verdict
from agent.session import Session
from agent.verify import Check, check_command
from engine.errors import EngineDied
from engine.request import Message
from sandbox import Workspace
from tools.plain_text import printable
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
        if session.resumed:
            await Goal(session, command).confirm()
        return
    _raise_if_explained(check)
    if session.options.approve == "read-only":
        raise Refused(
            "The command fails, and nothing may be written with --approve read-only.", verified=False
        )

    await session.pictures.look()
    after = await session.workspace.snapshot()
    restless = await session.workspace.changed(session.last_tree, after)
    goal = Goal(session, command, first=check, restless=restless)
    case: Case | None = None
    if not session.history:
        yield session.step("localise")
        async with _forks(session.workspace) as forks:
            case = await investigate(session.workspace, forks[0], command, check.completed, session.cwd)
            async for event in _search(session, case, forks):
                yield event
    if not session.verified:
        async for event in _with_tools(session, check, case, goal):
            yield event
    async for event in _minimise(session, case):
        yield event
    await goal.confirm()


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
    """Leaves out what the command passes without, and says so by one more run of the command.

    The repair stands already: a limit that is reached here ends the tidying, not the run.
    """
    command = session.options.command or []
    judge = case.judge if case else None

    async def passes(fork: Workspace) -> bool:
        session.check()
        completed = await fork.run(command, cwd=session.cwd, env=QUIET, seconds=MOST_PARTS_SECONDS)
        if judge is None:
            return completed.exit_code == 0
        return verdict(completed, parse_report(completed.output), judge, whole=True) == "passed"

    session.reached = bool(session.verified)
    now = await session.workspace.snapshot()
    try:
        yield session.step("minimise")
        dropped = await minimise(session.workspace, session.start_tree, now, passes, session.written)
    except LimitReached:
        if session.reached:
            return
        raise
    if not dropped.before:
        return
    try:
        check = await check_command(session, command)
    except BaseException:
        await asyncio.shield(dropped.put_back())
        raise
    if not check.passed:
        yield Warn(text="What was left out of the change was needed after all; it was put back.")
        await dropped.put_back()
        check = await check_command(session, command)
    session.verified = check.passed
    await session.checkpoint("minimised")


async def _with_tools(
    session: Session, check: Check, case: Case | None, goal: Goal
) -> AsyncIterator[AnyEvent]:
    """The last rung: the model with its tools, the command run after each edit."""
    messages: list[Message] = []
    if not session.history:
        messages.append(await system_message(session))
        text = prompt(
            "search_tools",
            command=shlex.join(check.command),
            how=check.how,
            report=fenced(check.tail),
            suspects=_hint(case),
        )
        messages.append(Message(role="user", content=text, images=await session.pictures.take()))
    async for event in tool_loop(session, messages, until=goal, after_edits=True, rounds=ROUNDS):
        yield event


def _hint(case: Case | None) -> str:
    if case is None or not case.suspects:
        return ""
    lines = [f"- {s.name} in {printable(s.file)}, line {s.start_line}" for s in case.suspects[:3]]
    return "\n\nThe failing tests run mostly through:\n" + "\n".join(lines)
