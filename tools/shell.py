"""shell: one command line, run by bash in the sandbox."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tools.base import Arguments, Tool, ToolContext, ToolResult
from tools.command import ended, run


class ShellArguments(Arguments):
    command: str = Field(min_length=1, description="Command line for bash.")
    cwd: str = Field(".", description="Folder to run it in, relative to the repository.")
    timeout_seconds: int = Field(120, ge=1, le=1800, description="It is stopped after this many seconds.")


class Shell(Tool[ShellArguments]):
    name: ClassVar[str] = "shell"
    Arguments: ClassVar[type[Arguments]] = ShellArguments
    mutates: ClassVar[bool] = True

    async def act(self, args: ShellArguments, ctx: ToolContext) -> ToolResult:
        done = await run(
            ctx.workspace, args.command, ctx, cwd=ctx.relative(args.cwd), seconds=args.timeout_seconds
        )
        shown = ctx.outputs.cut(done.output, ctx.budget, keep="tail").rstrip()
        return ToolResult(
            ok=done.exit_code == 0,
            text=f"{shown or '(no output)'}\n[{ended(done)}]",
            data={"exit_code": done.exit_code, "timed_out": done.timed_out, "seconds": done.seconds},
        )
