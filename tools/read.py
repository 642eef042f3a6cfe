"""read: a text file with line numbers, whole or in part."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tools.base import Arguments, Tool, ToolContext, ToolResult, failure
from tools.numbered import number
from tools.plain_text import plain
from tools.source_text import NotText, decode


class ReadArguments(Arguments):
    path: str = Field(description="File to read, relative to the repository.")
    start: int = Field(1, ge=1, description="First line to show, from 1.")
    end: int | None = Field(None, ge=1, description="Last line to show; leave out for the rest of the file.")


class Read(Tool[ReadArguments]):
    name: ClassVar[str] = "read"
    Arguments: ClassVar[type[Arguments]] = ReadArguments
    mutates: ClassVar[bool] = False

    async def act(self, args: ReadArguments, ctx: ToolContext) -> ToolResult:
        path = ctx.relative(args.path)
        data = await ctx.workspace.read(path)
        try:
            text = decode(data, path).text
        except NotText as kind:
            return failure(f"{path} is {kind} ({len(data):,} bytes); `read` shows text files only.")
        if not text:
            return ToolResult(ok=True, text=f"{path} is empty.", data={"path": path, "lines": 0})
        lines = text.removesuffix("\n").split("\n")
        if args.start > len(lines):
            return failure(f"{path} has {len(lines)} lines; there is no line {args.start}.")
        last = min(args.end or len(lines), len(lines))
        if last < args.start:
            return failure(f"The range is empty: `end` ({args.end}) lies before `start` ({args.start}).")
        shown = _fitting(number(map(plain, lines[args.start - 1 : last]), args.start), ctx.budget)
        notes = _notes(path, args, len(lines), len(shown), last)
        if any(plain(line) != line for line in lines[args.start - 1 : args.start - 1 + len(shown)]):
            notes.append("[control characters in these lines are not shown]")
        return ToolResult(
            ok=True,
            text="\n".join([*shown, *notes]),
            data={"path": path, "first": args.start, "shown": len(shown), "lines": len(lines)},
        )


def _notes(path: str, args: ReadArguments, total: int, shown: int, last: int) -> list[str]:
    stop = args.start + shown - 1
    if stop < last:
        return [f"[lines {args.start}-{stop} of {total}; go on with read path={path} start={stop + 1}]"]
    return [f"[lines {args.start}-{stop} of {total}]"] if (args.start, stop) != (1, total) else []


def _fitting(lines: list[str], budget: int) -> list[str]:
    """As many first lines as the budget holds, one at least."""
    for count, line in enumerate(lines):
        budget -= len(line) + 1
        if budget < 0:
            return lines[: max(1, count)]
    return lines
