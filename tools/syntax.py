"""The syntax gate: an edit must not turn a Python file that parses into one that does not."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox import Workspace
from tools.users_python import SUFFIXES, asked

_PARSE = """
import json, sys
try:
    compile(sys.stdin.buffer.read(), "source", "exec", dont_inherit=True)
    answer = None
except SyntaxError as error:
    answer = [error.msg, error.lineno or 1, (error.text or "").rstrip()]
except (ValueError, RecursionError, MemoryError) as error:
    answer = [str(error) or type(error).__name__, 1, ""]
sys.stdout.write(json.dumps({"parsed": answer}))
"""


@dataclass(frozen=True)
class SyntaxProblem:
    message: str
    line: int
    source: str
    """The line as it would be; "" where Python does not tell."""

    def __str__(self) -> str:
        shown = f": {self.source.strip()!r}" if self.source.strip() else ""
        return f"{self.message} (line {self.line}{shown})"


async def broken_by(
    workspace: Workspace, path: str, before: bytes | None, after: bytes
) -> SyntaxProblem | None:
    """What no longer parses in `path` once `after` stands in it; None where nothing does.

    `before` is what stands there now, None for a new file. A file that did not parse before may stay
    so, and where no Python answers, nothing is held against the change.
    """
    if not path.endswith(SUFFIXES):
        return None
    problem = await _parse(workspace, after)
    if problem is None or before is None:
        return problem
    return None if await _parse(workspace, before) is not None else problem


async def _parse(workspace: Workspace, source: bytes) -> SyntaxProblem | None:
    answer = await asked(workspace, _PARSE, source) or {}
    problem = answer.get("parsed")
    return SyntaxProblem(*problem) if problem else None
