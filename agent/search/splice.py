"""Turns a branch (a place, and how the model goes on from there) into edits of several shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LEXEME = re.compile(
    r"[ \t]*(?:\w+|==|!=|<=|>=|\*\*|//|<<|>>|->|:=|[-+*/%@&|^]=|\"[^\"\n]*\"|'[^'\n]*'|[^\w\s])"
)

SHAPE_PENALTY = {
    "line": 0.0,
    "statement": 0.3,
    "rejoin": 0.8,
    "lexeme": 1.0,
    "insert": 1.0,
    "block": 1.0,
}
"""Nats by which the less likely ways to use a branch come later."""


@dataclass(frozen=True)
class Splice:
    shape: str
    text: str
    """The whole new text of the region."""


def splices(text: str, offset: int, continuation: str) -> Iterator[Splice]:
    """Ways to put `continuation` (one line, from `offset` on) into `text`, unchecked, the plainest first."""
    head = text[:offset]
    end = _line_end(text, offset)
    yield Splice("line", head + continuation + text[end:])
    logical = _logical_end(text, offset)
    if logical > end:
        yield Splice("statement", head + continuation + text[logical:])
    begin = text.rfind("\n", 0, offset) + 1
    if not text[begin:offset].strip():
        yield Splice("insert", head + continuation + "\n" + text[begin:])
    for shape, spliced in _rejoined(continuation, text[offset:logical]):
        yield Splice(shape, head + spliced + text[logical:])


def block_splices(text: str, offset: int, continuation: str) -> Iterator[Splice]:
    """For a continuation of several lines (a compound statement): put in, or in place of the line."""
    block = first_statement(continuation)
    if not block.strip():
        return
    head = text[:offset]
    begin = text.rfind("\n", 0, offset) + 1
    if text[begin:offset].strip():
        # After the end of a line (`text[offset]` is its newline): the block follows that line.
        yield Splice("block", head + block + text[offset:])
        return
    yield Splice("block", head + block + "\n" + text[begin:])
    yield Splice("block", head + block + text[_line_end(text, offset) :])


def first_statement(continuation: str) -> str:
    """A continuation cut after its first line, or after the block that this line opens."""
    lines = continuation.split("\n")
    kept: list[str] = []
    depth = -1
    opened = False
    for line in lines:
        if not line.strip():
            kept.append(line)
            continue
        indent = len(line) - len(line.lstrip())
        if depth >= 0 and (indent <= depth or not opened):
            break
        if depth < 0:
            depth = indent
            opened = line.rstrip().endswith(":")
        kept.append(line)
    return "\n".join(kept).rstrip()


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _logical_end(text: str, offset: int) -> int:
    """End of the line, or of the last of the lines that open brackets hold together."""
    begin = text.rfind("\n", 0, offset) + 1
    end = _line_end(text, offset)
    while end < len(text) and (_open_brackets(text[begin:end]) > 0 or text[end - 1] == "\\"):
        end = _line_end(text, end + 1)
        if end - begin > 4000:
            return _line_end(text, offset)
    return end


def _open_brackets(text: str) -> int:
    depth = 0
    quote = ""
    for at, character in enumerate(text):
        if quote:
            if character == quote and text[at - 1] != "\\":
                quote = ""
        elif character in "\"'":
            quote = character
        elif character == "#":
            newline = text.find("\n", at)
            return depth + (_open_brackets(text[newline:]) if newline >= 0 else 0)
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
    return depth


def _rejoined(continuation: str, tail: str) -> Iterator[tuple[str, str]]:
    """Take the branch up to where it meets the old rest again: `<=` for `<`, `self.` before a name."""
    new = _LEXEME.findall(continuation)
    old = _LEXEME.findall(tail)
    if not new or not old or "".join(old) != tail[: len("".join(old))]:
        return
    lengths = [0]
    for lexeme in old:
        lengths.append(lengths[-1] + len(lexeme))
    yield "lexeme", new[0] + tail[lengths[1] :]
    best = sorted(
        (taken + left, taken, left)
        for taken in range(1, len(new))
        for left in range(len(old))
        if new[taken].strip() == old[left].strip()
    )
    for _, taken, left in best[:2]:
        joint = "".join(new[:taken]) + tail[lengths[left] :]
        yield "rejoin", joint
