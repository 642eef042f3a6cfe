"""Whether the sandbox, rather than the program, is why a command failed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from sandbox.explain_network import UNSAFE, network_reason
from sandbox.limits import Completed
from sandbox.network import Network
from sandbox.policy import Policy

TAIL = 4000
"""Characters at the end of the output that are looked at: the last words say why it failed."""
DENIED = re.compile(
    r"\[Errno (?:30|13)\] (?:Read-only file system|Permission denied): ['\"](?P<python>/[^'\"\n]+)['\"]"
    r"|cannot [a-z ]+ ['\"‘](?P<tool>/[^'\"’\n]+)['\"’]: (?:Read-only file system|Permission denied)"
    r"|(?P<shell>/[^\s:'\"]+): Read-only file system"
)
MISSING = re.compile(r"\[Errno 2\] No such file or directory: ['\"](?P<python>/[^'\"\n]+)['\"]")
TESTS_RAN = re.compile(
    r"^=+ .*\b\d+ (?:failed|errors?)\b.* =+$|^\d+ (?:failed|errors?)\b|^FAILED \(", re.MULTILINE
)
ONE_FAILURE = re.compile(r"^_{3,} .+ _{3,}$|^={10,}\n(?=(?:FAIL|ERROR): )", re.MULTILINE)
SUMMARY = re.compile(r"^=+ short test summary info =+$|^Ran \d+ tests? in ", re.MULTILINE)
RAISED = re.compile(r"^(?:E  .*|\w[\w.]*(?:Error|Exception|gaierror)\b.*)$", re.MULTILINE)


def explain(
    completed: Completed, policy: Policy, *, sandboxed: bool, network: Network | None = None
) -> str | None:
    """One sentence naming the flag that would help, or None: better none than a wrong one."""
    if completed.exit_code == 127:
        return _missing_program(completed, sandboxed)
    if not sandboxed or completed.exit_code in (0, None):
        return None

    def reason(text: str) -> str | None:
        return network_reason(text, network) or _denied(text, policy) or _hidden(text, policy)

    if TESTS_RAN.search(completed.output):
        return _every_failure(completed.output, reason)
    return reason(completed.output[-TAIL:])


def _every_failure(output: str, reason: Callable[[str], str | None]) -> str | None:
    """The reason, where each failing test raised such an error: one that did not is the program's own."""
    failures = ONE_FAILURE.split(SUMMARY.split(output)[0])[1:]
    found = [reason("\n".join(RAISED.findall(failure))) for failure in failures]
    return found[0] if found and all(found) else None


def _denied(text: str, policy: Policy) -> str | None:
    """A path that the sandbox made read-only, and that this user could write without it."""
    for match in DENIED.finditer(text):
        path = Path(os.path.normpath(match["python"] or match["tool"] or match["shell"]))
        if path.is_relative_to(policy.root) or _is_hidden(path, policy) or path.is_relative_to("/proc"):
            continue
        if os.access(path if path.exists() else path.parent, os.W_OK):
            return f"The command wanted to write {path}, outside the workspace; {UNSAFE} would allow it."
    return None


def _hidden(text: str, policy: Policy) -> str | None:
    """A path that the sandbox hides, and that is there without it."""
    for match in MISSING.finditer(text):
        path = Path(os.path.normpath(match["python"]))
        if path.is_relative_to(policy.root) or not _is_hidden(path, policy):
            continue
        if os.path.exists(path):
            return f"The command needs {path}, which the sandbox hides; {UNSAFE} would show it."
    return None


def _is_hidden(path: Path, policy: Policy) -> bool:
    if any(path.is_relative_to(place) for place in policy.readable):
        return False
    return any(path.is_relative_to(folder) for folder in policy.hidden)


def _missing_program(completed: Completed, sandboxed: bool) -> str | None:
    """Only for the command itself: a script may end in 127 for a line of its own."""
    program = completed.argv[0]
    if not re.search(rf"exec: {re.escape(program)}: not found", completed.output):
        return None
    place = shutil.which(program) if sandboxed else None
    if place is not None:
        return f"The sandbox leaves out {place}; {UNSAFE} would run it."
    if " " in program:
        return f"There is no program {program!r}; leave out the quotes around a command and its arguments."
    if "/" in program:
        return f"There is no program {program}; name one that exists."
    return f"There is no program {program!r} on PATH; install it, or name it by its path."
