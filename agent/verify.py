"""Running the command that must pass, and what its outcome says."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.config import settings_file
from agent.ending import EnvironmentProblem
from agent.events import Verify
from sandbox import Completed, Workspace
from tools.plain_text import plain
from tools.pytest_report import TestReport, parse_report

if TYPE_CHECKING:
    from agent.session import Session

TAIL = 3000
"""Characters of the command's output that are shown; its end says what failed."""
SECONDS = 600.0
SHELL_SYNTAX = set("|&;<>()$`*?~[#!\n")
ASSIGNMENT = re.compile(r"\s*[A-Za-z_][A-Za-z0-9_]*=")
"""At its start: a variable for the command after it."""
STILL_IN_QUOTES = set("$`\\")
"""What a shell acts on between double quotes; a backslash does not keep all of it from that."""


@dataclass(frozen=True)
class Check:
    """One run of the command."""

    command: list[str]
    completed: Completed
    report: TestReport
    explained: str | None
    """Why the sandbox or the user's own limit, and not the code, made it fail, and what would allow it."""

    @property
    def passed(self) -> bool:
        return self.completed.exit_code == 0

    @property
    def tail(self) -> str:
        """The end of the output, from the start of a line, as plain text."""
        return tail(plain(self.completed.output))

    @property
    def how(self) -> str:
        """What it did, to follow the command in a sentence."""
        if self.completed.timed_out:
            return f"did not end within {self.completed.seconds:.0f} s"
        return "passed" if self.passed else f"ended with exit code {self.completed.exit_code}"


async def check_command(
    session: Session,
    command: list[str],
    *,
    workspace: Workspace | None = None,
    seconds: float | None = SECONDS,
) -> Check:
    """Runs the command in the workspace (the session's, if none is given) and emits `verify`.

    With `read-only` it runs on a copy, because tests may write.
    """
    where = workspace or session.workspace
    copy = await where.fork() if workspace is None and session.options.approve == "read-only" else None
    try:
        completed = await (copy or where).run(command, cwd=session.cwd, seconds=seconds)
    finally:
        if copy:
            await copy.discard()
    report = parse_report(completed.output, root=str(where.root), cwd=session.cwd)
    passed = completed.exit_code == 0
    explained = None if passed else _own_limit(session, completed) or session.sandbox.explain(completed)
    check = Check(command, completed, report, explained)
    session.emit(
        Verify(
            command=command,
            exit_code=completed.exit_code,
            seconds=round(completed.seconds, 3),
            passed=passed,
            failing=report.failing,
            tail="" if passed else check.tail,
        )
    )
    return check


def _own_limit(session: Session, completed: Completed) -> str | None:
    """Where the user's settings, and not Ostro's patience, stopped the command: whether it hangs, or only
    takes its time, nobody can tell then."""
    longest = session.sandbox.limits.longest_seconds
    if not completed.timed_out or longest is None or longest >= SECONDS:
        return None
    return (
        f"The command did not end within the {longest:g} s that limits.seconds in "
        f"{settings_file('config.toml')} allows; raise that, or name a command that takes less."
    )


async def require_program(session: Session, command: list[str]) -> None:
    """Raises EnvironmentProblem where the command's program is not there, before any work is done."""
    look = ["sh", "-c", 'command -v -- "$1" >/dev/null', "sh", command[0]]
    found = await session.workspace.run(look, cwd=session.cwd, seconds=30)
    if found.exit_code != 0:
        raise EnvironmentProblem(
            f"There is no program {command[0]!r} on PATH inside the sandbox; install it, or correct --verify."
        )


def split_command(text: str) -> list[str]:
    """The words of `--verify CMD`; shell syntax outside of quotes goes through `sh -c`.

    ValueError: a quote is open.
    """
    return ["sh", "-c", text] if _needs_shell(text) else shlex.split(text)


def _needs_shell(text: str) -> bool:
    """Whether a shell does more with it than to split it into words, as `shlex` does."""
    if ASSIGNMENT.match(text):
        return True
    quote, escaped = "", False
    for character in text:
        if escaped:
            escaped = False
            if character == "\n":  # a line that goes on, where shlex has a line feed
                return True
        elif quote:
            if character == quote:
                quote = ""
            elif quote == '"' and character in STILL_IN_QUOTES:
                return True
        elif character in "'\"":
            quote = character
        elif character == "\\":
            escaped = True
        elif character in SHELL_SYNTAX:
            return True
    return False


def tail(text: str, limit: int = TAIL) -> str:
    """At most the last `limit` characters, from the start of a line where that leaves something."""
    text = text.rstrip()
    if len(text) <= limit:
        return text
    cut = text[-limit:]
    return "[...]\n" + (cut.partition("\n")[2] or cut)
