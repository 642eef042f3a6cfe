"""list: the tree of files, ignored ones left out."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from pydantic import Field

from sandbox import Entry
from tools.base import Arguments, Tool, ToolContext, ToolResult
from tools.plain_text import printable

_MARKS = {"dir": "/", "link": "@", "other": "?"}


class ListArguments(Arguments):
    path: str = Field(".", description="Folder to list, relative to the repository.")
    depth: int = Field(2, ge=1, le=20, description="How many levels of folders to show.")


class List(Tool[ListArguments]):
    name: ClassVar[str] = "list"
    Arguments: ClassVar[type[Arguments]] = ListArguments
    mutates: ClassVar[bool] = False

    async def act(self, args: ListArguments, ctx: ToolContext) -> ToolResult:
        path = ctx.relative(args.path).rstrip("/") or "."
        entries = await ctx.workspace.listing(path, recursive=True)
        if not entries:
            return ToolResult(ok=True, text=f"{path} holds no files (ignored ones not counted).")
        lines = _tree(path, entries, args.depth)
        files = sum(entry.kind != "dir" for entry in entries)
        return ToolResult(
            ok=True,
            text=ctx.outputs.cut("\n".join([*lines, f"[{files} files in all]"]), ctx.budget, keep="head"),
            data={"path": path, "files": files},
        )


def _tree(path: str, entries: list[Entry], depth: int) -> list[str]:
    """Two spaces a level; folders too deep to open say how many files they hold."""
    prefix = "" if path == "." else path + "/"
    below = [(entry.path.removeprefix(prefix).split("/"), entry) for entry in entries]
    inside: Counter[tuple[str, ...]] = Counter()
    shown: dict[tuple[str, ...], str] = {}
    for parts, entry in sorted(below, key=lambda pair: pair[0]):
        for level in range(1, len(parts)):
            folder = tuple(parts[:level])
            if level <= depth:
                shown.setdefault(folder, "/")
            if entry.kind != "dir":
                inside[folder] += 1
        if len(parts) <= depth:
            shown.setdefault(tuple(parts), _MARKS.get(entry.kind, ""))
    lines = [f"{path}/"]
    for parts, mark in shown.items():
        held = f" ({inside[parts]} files)" if mark == "/" and len(parts) == depth and inside[parts] else ""
        lines.append("  " * len(parts) + printable(parts[-1]) + mark + held)
    return lines
