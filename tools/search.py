"""search: lines that match, by ripgrep inside the sandbox where the user has it, else by a small program."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from sandbox import Completed
from sandbox.toolchain import own_python
from tools.base import Arguments, Tool, ToolContext, ToolResult, failure
from tools.numbered import clip
from tools.plain_text import plain

_PER_FILE = 20
_TOTAL = 200
_LONGEST = 250
_SECONDS = 30.0
_PROGRAM = Path(__file__).with_name("search_inside.py")


class SearchArguments(Arguments):
    pattern: str = Field(min_length=1, description="Regular expression, or plain text with `fixed`.")
    path: str = Field(".", description="Folder or file to search, relative to the repository.")
    glob: str | None = Field(None, min_length=1, description="Only files of this name, such as *.py.")
    fixed: bool = Field(False, description="Take the pattern as plain text.")
    ignore_case: bool = Field(False, description="Let upper and lower case match.")


class Search(Tool[SearchArguments]):
    name: ClassVar[str] = "search"
    Arguments: ClassVar[type[Arguments]] = SearchArguments
    mutates: ClassVar[bool] = False

    async def act(self, args: SearchArguments, ctx: ToolContext) -> ToolResult:
        if "\n" in args.pattern:
            return failure("The pattern holds a line feed; `search` matches within single lines.")
        path = ctx.relative(args.path).rstrip("/") or "."
        if not await ctx.workspace.exists(path):
            return failure(f"There is no {path!r} in the repository.")
        done = await ctx.workspace.run(_ripgrep(args, path), seconds=_SECONDS)
        if done.exit_code == 127:
            done = await _by_program(args, path, ctx)
        if done.timed_out:
            return failure(
                f"The search took longer than {_SECONDS:.0f} s and was stopped; "
                "use a simpler pattern, or `path` and `glob`."
            )
        if done.exit_code == 1:
            return ToolResult(ok=True, text=_nothing(args, path), data={"matches": 0, "files": 0})
        hits = _hits(done.output)
        if not hits:
            return failure(f"The search failed: {clip(plain(done.output).strip(), _LONGEST)}")
        return _answer(hits, ctx)


def _ripgrep(args: SearchArguments, path: str) -> list[str]:
    options = ["--no-config", "--null", "--line-number", "--no-heading", "--with-filename"]
    options += ["--color=never", "--hidden", "--glob=!.git", f"--max-count={_PER_FILE}", "--sort=path"]
    options += ["--fixed-strings"] if args.fixed else []
    options += ["--ignore-case"] if args.ignore_case else []
    options += [f"--glob={args.glob}"] if args.glob else []
    return ["rg", *options, f"--regexp={args.pattern}", "--", path]


async def _by_program(args: SearchArguments, path: str, ctx: ToolContext) -> Completed:
    wanted = re.compile(_glob(args.glob)) if args.glob else None
    paths = [p for p in await _files(path, ctx) if wanted is None or wanted.fullmatch(p)]
    asked = {
        "pattern": re.escape(args.pattern) if args.fixed else args.pattern,
        "ignore_case": args.ignore_case,
        "paths": paths,
        "per_file": _PER_FILE,
        "total": _TOTAL + 1,
        "longest": 4 * _LONGEST,
    }
    program = ctx.workspace.lend(_PROGRAM.name, _PROGRAM.read_bytes())
    return await ctx.workspace.run(
        [str(own_python()), "-I", "-S", str(program)],
        stdin=json.dumps(asked).encode("ascii"),
        seconds=_SECONDS,
    )


async def _files(path: str, ctx: ToolContext) -> list[str]:
    around = await ctx.workspace.listing(path.rpartition("/")[0] or ".") if path != "." else []
    if any(entry.path == path and entry.kind == "file" for entry in around):
        return [path]
    return [e.path for e in await ctx.workspace.listing(path, recursive=True) if e.kind == "file"]


def _glob(glob: str) -> str:
    """A regular expression for a path, by ripgrep's rules: without a slash it matches at any depth."""
    if "/" not in glob.rstrip("/"):
        glob = "**/" + glob
    parts: list[str] = []
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]]+\]|\{[^{}]*\}|.", glob.removeprefix("/")):
        if token[0] == "[" and len(token) > 2:
            parts.append("[" + token[1:-1].replace("\\", r"\\").replace("!", "^", 1) + "]")
        elif token[0] == "{" and len(token) > 1:
            parts.append("(?:" + "|".join(map(_one_glob, token[1:-1].split(","))) + ")")
        else:
            parts.append(_one_glob(token))
    return "".join(parts)


def _one_glob(token: str) -> str:
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in special:
        return special[token]
    return "".join(special.get(character, re.escape(character)) for character in token)


def _hits(output: str) -> list[tuple[str, int, str]]:
    hits: list[tuple[str, int, str]] = []
    for line in output.split("\n"):
        path, _, rest = line.partition("\0")
        number, colon, text = rest.partition(":")
        if colon and number.isdecimal():
            hits.append((plain(path).removeprefix("./"), int(number), plain(text.rstrip("\r"))))
    return hits


def _nothing(args: SearchArguments, path: str) -> str:
    where = "the repository" if path == "." else path
    where += f" (files {args.glob})" if args.glob else ""
    return f"No line in {where} matches {args.pattern!r}."


def _answer(hits: list[tuple[str, int, str]], ctx: ToolContext) -> ToolResult:
    per_file: dict[str, int] = {}
    for path, _, _ in hits:
        per_file[path] = per_file.get(path, 0) + 1
    shown = [f"{path}:{number}: {clip(text.strip(), _LONGEST)}" for path, number, text in hits[:_TOTAL]]
    notes: list[str] = []
    if len(hits) > _TOTAL:
        notes.append(f"[only the first {_TOTAL} matches are shown; narrow the search]")
    full = [path for path, count in per_file.items() if count >= _PER_FILE]
    if full:
        named = ", ".join(full[:3]) + (", …" if len(full) > 3 else "")
        notes.append(f"[at most {_PER_FILE} matches a file are shown; there may be more in {named}]")
    return ToolResult(
        ok=True,
        text="\n".join([ctx.outputs.cut("\n".join(shown), ctx.budget, keep="head"), *notes]),
        data={"matches": len(hits), "files": len(per_file)},
    )
