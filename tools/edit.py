"""edit: replaces one piece of a file, and says where the file differs when it is not there."""

from __future__ import annotations

import difflib
from typing import ClassVar

from pydantic import Field

from sandbox import version
from tools import match, nearest
from tools.base import Arguments, Tool, ToolContext, ToolResult, failure
from tools.numbered import clip, number
from tools.plain_text import plain
from tools.source_text import NotText, SourceText, Unencodable, decode
from tools.syntax import SyntaxProblem, broken_by

_SHOWN_LINES = 24
_LINE = 200


class EditArguments(Arguments):
    path: str = Field(description="File to edit, relative to the repository.")
    old: str = Field(description="Text to replace, copied from the file without line numbers.")
    new: str = Field(description="Text that takes its place.")
    replace_all: bool = Field(False, description="Replace every place where `old` stands.")


class Edit(Tool[EditArguments]):
    name: ClassVar[str] = "edit"
    Arguments: ClassVar[type[Arguments]] = EditArguments
    mutates: ClassVar[bool] = True

    async def act(self, args: EditArguments, ctx: ToolContext) -> ToolResult:
        path = ctx.relative(args.path)
        data = await ctx.workspace.read(path)
        try:
            source = decode(data, path)
        except NotText as kind:
            return failure(f"{path} is {kind}; `edit` changes text files only.")
        old, new = _line_feeds(args.old), _line_feeds(args.new)
        if not old:
            return failure("`old` is empty: copy the text to replace from the file, or use `write`.")
        if old == new:
            return failure("`old` and `new` are the same: nothing would change.")
        outcome = match.find(source.text, old, new, replace_all=args.replace_all)
        if isinstance(outcome, match.Ambiguous):
            return failure(_ambiguous(path, outcome), miss="ambiguous", lines=list(outcome.lines))
        if isinstance(outcome, match.Missed):
            return _missed(path, source.text, old, new)
        return await self._replace(path, data, source, outcome.places, ctx)

    async def _replace(
        self, path: str, data: bytes, source: SourceText, places: tuple[match.Place, ...], ctx: ToolContext
    ) -> ToolResult:
        problem = None
        for chosen in _readings(source.text, places):
            try:
                changed = source.encode(_with_line_ends(source, chosen))
            except Unencodable as error:
                return failure(str(error))
            if changed == data:
                return failure("But for white space the file has `new` already: nothing would change.")
            broken = await broken_by(ctx.workspace, path, data, changed)
            if broken is None:
                await ctx.workspace.write(path, changed, expects=version(data))
                return _done(path, source.text, chosen)
            problem = problem or broken
        assert problem is not None
        return _refused(path, source.text, places, problem)


def _readings(text: str, places: tuple[match.Place, ...]) -> list[tuple[match.Place, ...]]:
    """What the edit may mean; the second only where the first does not parse."""
    other = match.hanging(text, places[0]) if len(places) == 1 else None
    return [places, (other,)] if other else [places]


def _with_line_ends(source: SourceText, places: tuple[match.Place, ...]) -> str:
    """The file's raw text with the places replaced; lines that no place touches keep their line ends."""
    text, raw = source.text, source.raw
    if "\r\n" not in raw:
        return match.apply(text, places)
    pieces: list[str] = []
    done = done_raw = 0
    for place in places:
        start_raw = done_raw + _raw_length(raw, done_raw, place.start - done)
        pieces += [raw[done_raw:start_raw], place.replacement.replace("\n", _line_end(source, start_raw))]
        done_raw = start_raw + _raw_length(raw, start_raw, place.end - place.start)
        done = place.end
    return "".join([*pieces, raw[done_raw:]])


def _line_end(source: SourceText, at: int) -> str:
    """How the line at this offset of the raw text ends; as most lines do, where it is the last one."""
    end = source.raw.find("\n", at)
    if end < 0:
        return source.newline
    return "\r\n" if source.raw[end - 1 : end] == "\r" else "\n"


def _raw_length(raw: str, start: int, length: int) -> int:
    """How many characters of `raw` from `start` on are `length` characters of the text."""
    at = start
    for _ in range(length):
        at += 2 if raw.startswith("\r\n", at) else 1
    return at - start


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n")


def _done(path: str, before: str, places: tuple[match.Place, ...]) -> ToolResult:
    after = match.apply(before, places)
    first = match.line_of(before, places[0].start)
    last = first + places[0].replacement.removesuffix("\n").count("\n")
    lines = after.split("\n")
    start, stop = max(1, first - 2), min(len(lines), last + 2)
    shown = number(map(plain, lines[start - 1 : stop][:_SHOWN_LINES]), start)
    count = len(places)
    where = f"{count} places" if count > 1 else f"line {first}"
    note = "" if places[0].how == "exact" else " (matched but for white space; `new` was re-indented to fit)"
    diff = "\n".join(
        difflib.unified_diff(before.split("\n"), lines, f"a/{path}", f"b/{path}", n=2, lineterm="")
    )
    return ToolResult(
        ok=True,
        text="\n".join([f"Edited {path} at {where}{note}. It now reads:", *shown]),
        data={"path": path, "how": places[0].how, "line": first, "places": count, "diff": plain(diff)},
    )


def _ambiguous(path: str, found: match.Ambiguous) -> str:
    lines = ", ".join(map(str, found.lines[:10])) + (", …" if len(found.lines) > 10 else "")
    how = "" if found.how == "exact" else " but for white space"
    choice = " or set `replace_all`" if found.how == "exact" else ""
    return (
        f"`old` stands in {path} {len(found.lines)} times{how} (lines {lines}); nothing was changed. "
        f"Add neighbouring lines to `old` so that it names one place{choice}."
    )


def _missed(path: str, text: str, old: str, new: str) -> ToolResult:
    again = ""
    if new.strip() and text.count(new) == 1:
        line = match.line_of(text, text.find(new))
        again = f" `new` stands there already, at line {line}: was this edit made before?"
    region = nearest.nearest(text, old)
    if region is None:
        sentence = f"`old` is not in {path}, and nothing there resembles it; nothing was changed.{again}"
        return failure(f"{sentence} Read the file and copy the text.", miss="nothing alike")
    diff = [clip(plain(line), _LINE) for line in region.diff]
    shown = diff if len(diff) <= _SHOWN_LINES else [*diff[:_SHOWN_LINES], "…"]
    return failure(
        "\n".join(
            [
                f"`old` is not in {path}; nothing was changed.{again} The most similar place is lines "
                f"{region.first_line}-{region.last_line} (- `old`, + the file):",
                *shown,
                "Copy `old` from the + lines and the unmarked ones, without numbers and marks.",
            ]
        ),
        miss="nearest",
        first_line=region.first_line,
        last_line=region.last_line,
        ratio=round(region.ratio, 3),
    )


def _refused(path: str, before: str, places: tuple[match.Place, ...], problem: SyntaxProblem) -> ToolResult:
    lines = match.apply(before, places).split("\n")
    start, stop = max(1, problem.line - 3), min(len(lines), problem.line + 2)
    shown = number(map(plain, lines[start - 1 : stop]), start)
    return failure(
        "\n".join(
            [
                f"Not edited: {path} would no longer parse: {plain(str(problem))}. It would read:",
                *shown,
                "The file is as it was. Correct `new` (mind its indentation) and edit again.",
            ]
        ),
        syntax_error=problem.message,
        line=problem.line,
    )
