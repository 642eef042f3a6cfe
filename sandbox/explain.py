"""Whether the sandbox, rather than the program, is why a command failed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sandbox.limits import Completed
from sandbox.policy import Policy

UNSAFE = "--unsafe-no-sandbox"
TAIL = 4000
"""Characters at the end of the output that are looked at: the last words say why it failed."""
NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Name or service not known|Could not resolve host"
    r"|getaddrinfo EAI_AGAIN|Network is unreachable|nodename nor servname provided"
    r"|dial tcp: lookup \S+|failed to lookup address information"
)
DENIED = re.compile(
    r"(?:\[Errno (?:30|13)\] (?:Read-only file system|Permission denied): ['\"](?P<python>/[^'\"\n]+)['\"])"
    r"|(?:cannot [a-z ]+ ['\"‘](?P<tool>/[^'\"’\n]+)['\"’]: (?:Read-only file system|Permission denied))"
    r"|(?:(?P<shell>/[^\s:'\"]+): (?:Read-only file system))"
)
TESTS_RAN = re.compile(r"^=+ .*\b\d+ (?:failed|passed)\b.* =+$|^FAILED \(|^Ran \d+ tests? in ", re.MULTILINE)


def explain(completed: Completed, policy: Policy, *, sandboxed: bool) -> str | None:
    """One sentence naming the flag that would help, or None: better none than a wrong one."""
    if completed.exit_code == 127:
        return _missing_program(completed, policy, sandboxed)
    if not sandboxed or completed.exit_code in (0, None):
        return None
    # Once tests ran, a failure is theirs: a test that expects an error prints it as well.
    if TESTS_RAN.search(completed.output):
        return None
    tail = completed.output[-TAIL:]
    if match := NO_NETWORK.search(tail):
        return (
            f"The command needs the network ({match[0]}), which the sandbox denies; {UNSAFE} would allow it."
        )
    for match in DENIED.finditer(tail):
        path = match["python"] or match["tool"] or match["shell"]
        if _denied_by_policy(Path(path), policy):
            return f"The command wanted to write {path}, which is outside the workspace; {UNSAFE} would allow it."
    return None


def _missing_program(completed: Completed, policy: Policy, sandboxed: bool) -> str | None:
    """Only for the command itself: a shell script may end in 127 for a line of its own."""
    program = completed.argv[0]
    if not re.search(rf"exec: {re.escape(program)}: not found", completed.output):
        return None
    if not sandboxed:
        return f"There is no program {program!r} on PATH; install it, or name it by its path."
    if "/" in program and os.path.isabs(program) and os.access(program, os.X_OK):
        return (
            f"The program {program} is not visible in the sandbox; put its folder on PATH, or use {UNSAFE}."
        )
    return f"There is no program {program!r} on PATH inside the sandbox; install it, or see if {UNSAFE} finds it."


def _denied_by_policy(path: Path, policy: Policy) -> bool:
    """The sandbox made it read-only, and without the sandbox this user could write it."""
    real = Path(os.path.normpath(path))
    if real.is_relative_to(policy.root) or any(real.is_relative_to(h) for h in policy.hidden):
        return False
    holder = real if real.exists() else real.parent
    return os.access(holder, os.W_OK)
