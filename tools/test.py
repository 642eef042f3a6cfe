"""test: runs the tests and tells what fails and where, not just what was printed."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import ClassVar

from pydantic import Field

from sandbox import Completed, FileProblem, Workspace
from tools.base import Arguments, Tool, ToolContext, ToolResult, failure
from tools.command import ended, run
from tools.pytest_report import TestReport, parse_report

_SHOWN_IDS = 20
_SHOWN_FRAMES = 12
_XML_WRITTEN = re.compile(
    r"(?:generated xml file: |^XML: |--junit-?xml[= ])[\"']?(?P<path>[^\"'\s]+)", re.MULTILINE
)


class TestArguments(Arguments):
    __test__ = False

    command: str | None = Field(
        None, min_length=1, description="Command line to run instead of the project's test command."
    )
    timeout_seconds: int = Field(600, ge=1, le=1800, description="It is stopped after this many seconds.")


class Test(Tool[TestArguments]):
    __test__ = False

    name: ClassVar[str] = "test"
    Arguments: ClassVar[type[Arguments]] = TestArguments
    mutates: ClassVar[bool] = False

    async def act(self, args: TestArguments, ctx: ToolContext) -> ToolResult:
        command = args.command or ctx.test_command
        if not command:
            return failure(
                "There is no test command for this repository: give `command`, such as `python -m pytest -q`."
            )
        cwd = "." if args.command else ctx.test_cwd
        if not ctx.read_only:
            return await _run(ctx.workspace, command, cwd, args.timeout_seconds, ctx)
        # Tests may write (caches, snapshots): a read-only session runs them on a copy.
        copy = await ctx.workspace.fork()
        try:
            return await _run(copy, command, cwd, args.timeout_seconds, ctx)
        finally:
            await copy.discard()


async def _run(
    workspace: Workspace, command: str | list[str], cwd: str, seconds: float, ctx: ToolContext
) -> ToolResult:
    line = command if isinstance(command, str) else shlex.join(command)
    before = await _xml(workspace, line, cwd)
    done = await run(workspace, command, ctx, cwd=cwd, seconds=seconds)
    after = await _xml(workspace, f"{line}\n{done.output}", cwd)
    fresh = after if after != before else None
    report = parse_report(done.output, fresh, root=str(workspace.root), cwd=cwd)
    ok = done.exit_code == 0 and not report.failing
    return ToolResult(
        ok=ok,
        text=_answer(report, done, line, ctx),
        data={
            "command": line,
            "exit_code": done.exit_code,
            "timed_out": done.timed_out,
            "seconds": done.seconds,
            "report": report.model_dump(),
        },
    )


async def _xml(workspace: Workspace, text: str, cwd: str) -> bytes | None:
    """The JUnit XML that the command line or the output names, where it lies in the workspace."""
    named = [hit["path"] for hit in _XML_WRITTEN.finditer(text)]
    if not named:
        return None
    root = str(workspace.root)
    try:
        return await workspace.read(posixpath.relpath(posixpath.join(root, cwd, named[-1]), root))
    except FileProblem:
        return None


def _answer(report: TestReport, done: Completed, line: str, ctx: ToolContext) -> str:
    counts = report.counts() or ("passed" if done.exit_code == 0 else "failed")
    parts = [f"{counts} ({ended(done)}): {line}"]
    if report.stopped:
        parts.append(f"The run did not finish: {report.stopped}.")
    if report.failing:
        more = len(report.failing) - _SHOWN_IDS
        parts += ["Failing:", *(f"  {test_id}" for test_id in report.failing[:_SHOWN_IDS])]
        parts += [f"  … and {more} more"] if more > 0 else []
    if report.first_error:
        parts += ["First error:", *(f"  {text}" for text in report.first_error.split("\n"))]
    if report.frames:
        shown = report.frames[-_SHOWN_FRAMES:]
        parts += ["Came through (innermost last):", *(f"  {frame}" for frame in shown)]
    head = ctx.outputs.cut("\n".join(parts), ctx.budget // 2, keep="head")
    if done.exit_code == 0:
        return head
    tail = ctx.outputs.cut(done.output.strip("\n"), max(1_000, ctx.budget - len(head)), keep="tail")
    return f"{head}\nOutput:\n{tail}" if tail.strip() else head
