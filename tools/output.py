"""output: any part of an earlier output that was cut."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tools.base import Arguments, Tool, ToolContext, ToolResult, failure
from tools.numbered import number, wrap


class OutputArguments(Arguments):
    id: str = Field(description="Id of the output, as the cut answer names it.")
    start: int = Field(1, ge=1, description="First line to show, from 1.")
    end: int | None = Field(None, ge=1, description="Last line to show; leave out for the rest.")
    search: str | None = Field(
        None, min_length=1, description="Show only lines with this text (case does not matter)."
    )


class Output(Tool[OutputArguments]):
    name: ClassVar[str] = "output"
    Arguments: ClassVar[type[Arguments]] = OutputArguments
    mutates: ClassVar[bool] = False

    async def act(self, args: OutputArguments, ctx: ToolContext) -> ToolResult:
        text = ctx.outputs.get(args.id)
        if text is None:
            known = ", ".join(ctx.outputs.ids()[-10:])
            have = f"there are {known}." if known else "no output was kept so far."
            return failure(f"There is no output {args.id!r}; {have}")
        lines = wrap(text)
        if args.start > len(lines):
            return failure(f"Output {args.id} has {len(lines)} lines; there is no line {args.start}.")
        last = min(args.end or len(lines), len(lines))
        asked = lines[args.start - 1 : last]
        chosen = list(zip(number(asked, args.start), asked, strict=True))
        if args.search is not None:
            wanted = args.search.casefold()
            chosen = [(shown, line) for shown, line in chosen if wanted in line.casefold()]
            if not chosen:
                return failure(f"No line of output {args.id} holds {args.search!r}.")
        if not chosen:
            return failure(f"The range is empty: `end` ({args.end}) lies before `start` ({args.start}).")
        return ToolResult(
            ok=True,
            text=_cut([shown for shown, _ in chosen], args, ctx.budget, len(lines)),
            data={"id": args.id, "lines": len(lines), "matching": len(chosen)},
        )


def _cut(shown: list[str], args: OutputArguments, budget: int, total: int) -> str:
    """What fits, and how to go on. It is kept already, so nothing is kept a second time."""
    for count, line in enumerate(shown):
        budget -= len(line) + 1
        if budget >= 0 or count == 0:
            continue
        resume = int(shown[count].split("→", 1)[0])
        again = f" search={args.search}" if args.search is not None else ""
        how = f"go on with output id={args.id} start={resume}{again}"
        return "\n".join([*shown[:count], f"[{count} of {len(shown)} lines shown; {how}]"])
    return "\n".join([*shown, f"[{len(shown)} of {total} lines]"])
