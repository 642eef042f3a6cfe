"""Runs a command of the model's in the workspace; what it prints comes back as plain text."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace

from sandbox import Completed, Workspace
from tools.base import ToolContext
from tools.plain_text import PlainStream, plain

# bash where there is one: models write bash.
_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -c "$1"; else exec sh -c "$1"; fi'


async def run(
    workspace: Workspace, command: str | Sequence[str], ctx: ToolContext, *, cwd: str, seconds: float
) -> Completed:
    """A command line for the shell, or an argument list run as it is; `output` is plain text."""
    argv = ["sh", "-c", _SHELL, "sh", command] if isinstance(command, str) else list(command)
    if ctx.on_output is None:
        done = await workspace.run(argv, cwd=cwd, seconds=seconds)
        return replace(done, output=plain(done.output))
    tell, stream = ctx.on_output, PlainStream()

    def listen(chunk: str) -> None:
        if text := stream.push(chunk):
            tell(text)

    done = await workspace.run(argv, cwd=cwd, seconds=seconds, on_output=listen)
    if rest := stream.close():
        tell(rest)
    return replace(done, output=plain(done.output))


def ended(done: Completed) -> str:
    """How it ended: `exit code 1 after 0.3 s`."""
    if done.timed_out:
        return f"stopped at its time limit, after {done.seconds:.1f} s, with everything it had started"
    code = done.exit_code or 0
    meaning = {126: " (not executable)", 127: " (command not found)"}.get(code, "")
    if code > 128 and code - 128 in set(signal.Signals):
        meaning = f" (killed by {signal.Signals(code - 128).name})"
    cut = "; its output was too long to be kept whole" if done.output_cut else ""
    return f"exit code {code}{meaning} after {done.seconds:.1f} s{cut}"
