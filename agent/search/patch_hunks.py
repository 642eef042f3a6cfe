"""A unified diff taken apart into files and hunks, so that parts of it can be left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True)
class Hunk:
    old_start: int
    old_count: int
    lines: tuple[str, ...]
    """With their ` `, `+` or `-`; `\\ No newline at end of file` marks kept."""


@dataclass(frozen=True)
class FilePatch:
    """One file of a diff; `hunks` is empty where it is binary, a mode change or a bare rename."""

    path: str
    hunks: tuple[Hunk, ...]
    created: bool = False
    deleted: bool = False


def parse_patch(text: str) -> list[FilePatch]:
    """The files of a `git diff` in its order. Raises ValueError for a hunk without its lines."""
    files: list[FilePatch] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("diff --git "):
            files.append(FilePatch(_path(line), ()))
        elif not files:
            continue
        elif line.startswith("new file mode"):
            files[-1] = replace(files[-1], created=True)
        elif line.startswith("deleted file mode"):
            files[-1] = replace(files[-1], deleted=True)
        elif line.startswith(("--- ", "+++ ")) and (path := _side(line)) is not None:
            files[-1] = replace(files[-1], path=path)
        elif match := _HUNK.match(line):
            hunk, at = _read_hunk(match, lines, at)
            files[-1] = replace(files[-1], hunks=(*files[-1].hunks, hunk))
    return files


def split_hunk(hunk: Hunk) -> list[Hunk]:
    """One hunk for each run of changed lines: git joins changes that stand near each other."""
    parts: list[Hunk] = []
    old = hunk.old_start + (1 if hunk.old_count == 0 else 0)
    run: list[str] = []
    start = old
    for line in (*hunk.lines, " "):
        if line.startswith("\\"):
            if run:
                run.append(line)
            continue
        if line[:1] in "+-" and line:
            if not run:
                start = old
            run.append(line)
        elif run:
            parts.append(Hunk(start, sum(part.startswith("-") for part in run), tuple(run)))
            run = []
        if not line.startswith("+"):
            old += 1
    return parts


def without(new: str, parts: list[Hunk], dropped: set[int]) -> str:
    """The new text with the `dropped` ones of its split hunks (of all of them, in order) taken back.

    Raises ValueError where the parts are not those of this text.
    """
    lines = _keep_ends(new)
    shift = 0
    for number, part in enumerate(parts):
        removed = _content(part.lines, "-")
        added = _content(part.lines, "+")
        at = part.old_start - 1 + shift
        if lines[at : at + len(added)] != added:
            raise ValueError(f"the text does not hold hunk {number + 1} at line {at + 1}")
        if number in dropped:
            lines[at : at + len(added)] = removed
        else:
            shift += len(added) - len(removed)
    return "".join(lines)


def _content(lines: tuple[str, ...], sign: str) -> list[str]:
    kept: list[str] = []
    last = ""
    for line in lines:
        if line.startswith("\\"):
            if last == sign and kept:
                kept[-1] = kept[-1].removesuffix("\n")
            continue
        last = line[0]
        if last == sign:
            kept.append(line[1:] + "\n")
    return kept


def _keep_ends(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+$", text)


def _read_hunk(match: re.Match[str], lines: list[str], at: int) -> tuple[Hunk, int]:
    old = int(match[2]) if match[2] is not None else 1
    new = int(match[4]) if match[4] is not None else 1
    left_old, left_new = old, new
    body: list[str] = []
    while left_old > 0 or left_new > 0 or (at < len(lines) and lines[at].startswith("\\")):
        if at >= len(lines) or lines[at][:1] not in (" ", "+", "-", "\\"):
            raise ValueError(f"the hunk {match[0]!r} ends before its lines do")
        line = lines[at]
        body.append(line)
        at += 1
        left_old -= line[0] in " -"
        left_new -= line[0] in " +"
    return Hunk(int(match[1]), old, tuple(body)), at


def _path(header: str) -> str:
    """The new name of `diff --git a/x b/x`."""
    rest = header.removeprefix("diff --git ")
    if rest.startswith('"'):
        return _unquote(rest[rest.rindex(' "') + 1 :]).removeprefix("b/")
    half = len(rest) // 2
    if rest[:half].removeprefix("a/") == rest[half + 1 :].removeprefix("b/"):
        return rest[half + 1 :].removeprefix("b/")
    return rest.rpartition(" b/")[2]


def _side(line: str) -> str | None:
    name = line[4:].rstrip("\t")
    if name == "/dev/null":
        return None
    return _unquote(name)[2:]


def _unquote(name: str) -> str:
    """Git quotes names with unusual characters as C strings of their bytes."""
    if not name.startswith('"'):
        return name
    body = name[1:-1]
    data = body.encode().decode("unicode_escape").encode("latin-1", "replace")
    return data.decode("utf-8", "replace")
