"""write: a whole file."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from sandbox import version
from tools.base import Arguments, Tool, ToolContext, ToolResult, failure
from tools.definitions import lost
from tools.plain_text import plain, printable
from tools.source_text import NEW_FILE, NotText, Unencodable, decode
from tools.syntax import broken_by

MOST_NAMED = 20
"""Definitions that are gone, in the answer."""


class WriteArguments(Arguments):
    path: str = Field(min_length=1, description="File to write, relative to the repository.")
    content: str = Field(description="The complete text of the file.")


class Write(Tool[WriteArguments]):
    name: ClassVar[str] = "write"
    Arguments: ClassVar[type[Arguments]] = WriteArguments
    mutates: ClassVar[bool] = True

    async def act(self, args: WriteArguments, ctx: ToolContext) -> ToolResult:
        path = ctx.relative(args.path)
        before = await ctx.workspace.read(path) if await ctx.workspace.exists(path) else None
        if before and not args.content:
            return failure(
                f"Not written: `content` is empty and {path} holds {len(before):,} bytes. "
                "To remove the file use `shell` with rm; to empty it write a single line feed."
            )
        try:
            source = decode(before, path) if before else NEW_FILE
            content = args.content
            if before:  # a file that is there keeps its line ends
                content = content.replace("\r\n", "\n").replace("\n", source.newline)
            after = source.encode(content)
        except NotText as kind:
            return failure(f"Not written: {path} is {kind}; `write` replaces text files only.")
        except Unencodable as error:
            return failure(f"Not written: {error}")
        if after == before:
            return failure(f"{path} holds exactly this already: nothing would change.")
        problem = await broken_by(ctx.workspace, path, before, after)
        if problem is not None:
            return failure(
                f"Not written: {path} would not parse: {plain(str(problem))}. "
                "Correct `content` and write it again, complete.",
                syntax_error=problem.message,
                line=problem.line,
            )
        gone = await lost(ctx.workspace, path, before, after) if before else []
        await ctx.workspace.write(path, after, expects=version(before))
        lines = content.count("\n") + (not content.endswith("\n"))
        what = "Created" if before is None else "Replaced"
        text = f"{what} {path} ({lines} line{'' if lines == 1 else 's'})."
        data: dict[str, Any] = {"path": path, "created": before is None, "lines": lines}
        if gone:
            named = ", ".join(map(printable, gone[:MOST_NAMED]))
            more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
            text += f" It no longer defines {named}{more}. If that was not meant, put them back."
            data["gone"] = gone
        return ToolResult(ok=True, text=text, data=data)
