"""Asks the user's own `python` about source text, inside the sandbox: its version decides what is valid."""

from __future__ import annotations

import json
from typing import Any

from sandbox import Workspace
from sandbox.toolchain import own_python

SUFFIXES = (".py", ".pyi")
_SECONDS = 20.0


async def asked(workspace: Workspace, code: str, source: bytes) -> dict[str, Any] | None:
    """The JSON object that `code` prints with `source` as its input; None where no Python answers.

    Our own is asked only where theirs gives no answer.
    """
    for program in ("python", "python3", str(own_python())):
        done = await workspace.run(
            [program, "-I", "-S", "-W", "ignore", "-c", code], stdin=source, seconds=_SECONDS
        )
        try:
            answer = json.loads(done.output)
        except ValueError:
            continue
        if isinstance(answer, dict):
            return answer
    return None
