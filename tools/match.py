"""Finds the text that an edit means, exactly or but for white space, and never guesses between places.

Pure functions over text with line feeds alone. Offsets are characters, line numbers count from 1.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from tools.indentation import Reindent, fit

How = Literal["exact", "white space"]

_NUMBERED = re.compile(r" *\d+→")


@dataclass(frozen=True)
class Place:
    """Replace text[start:end] by `replacement`."""

    start: int
    end: int
    replacement: str
    how: How


@dataclass(frozen=True)
class Found:
    places: tuple[Place, ...]
    """One, or all of them with `replace_all`; in order, not overlapping."""


@dataclass(frozen=True)
class Ambiguous:
    lines: tuple[int, ...]
    """Where each of the matches begins."""
    how: How


@dataclass(frozen=True)
class Missed:
    """No match, exact or but for white space."""


def find(text: str, old: str, new: str, *, replace_all: bool = False) -> Found | Ambiguous | Missed:
    """Where `old` stands in `text` and what takes its place.

    Exact first. Else whole lines that differ from `old` only in trailing white space or in indentation
    (shifted as a block, in other units, or missing on the first line), where exactly one place matches
    at the strictest of these that matches at all; `new` is then re-indented the same way. Lines that
    `old` and `new` share keep the file's own white space.
    """
    starts = _occurrences(text, old, step=len(old) if replace_all else 1)
    if len(starts) == 1 or (starts and replace_all):
        return Found(tuple(Place(start, start + len(old), new, "exact") for start in starts))
    if starts:
        return Ambiguous(tuple(line_of(text, start) for start in starts), "exact")
    tolerant = _tolerant(text, old, new)
    if isinstance(tolerant, Missed) and _is_numbered(old):
        return find(text, _without_numbers(old), _without_numbers(new), replace_all=replace_all)
    return tolerant


def apply(text: str, places: tuple[Place, ...]) -> str:
    """`text` with every place replaced."""
    for place in reversed(places):
        text = text[: place.start] + place.replacement + text[place.end :]
    return text


def line_of(text: str, offset: int) -> int:
    """The number of the line that holds this offset."""
    return text.count("\n", 0, offset) + 1


def hanging(text: str, place: Place) -> Place | None:
    """The other reading of a one-line `old` given without its indentation: all of `new` is relative to it.

    None where the place is not of that kind, or where both readings are the same.
    """
    begin = text.rfind("\n", 0, place.start) + 1
    indent = text[begin : place.start]
    whole_line = text[place.end : place.end + 1] in ("", "\n")
    if not indent or indent.strip() or not whole_line or "\n" in text[place.start : place.end]:
        return None
    first, *rest = place.replacement.split("\n")
    shifted = "\n".join([first, *(indent + line if line.strip() else line for line in rest)])
    if shifted == place.replacement:
        return None
    return Place(place.start, place.end, shifted, "white space")


def _occurrences(text: str, old: str, *, step: int) -> list[int]:
    """Where `old` begins, looked for again `step` characters after each; nothing for an empty one."""
    found: list[int] = []
    at = text.find(old) if old else -1
    while at >= 0:
        found.append(at)
        at = text.find(old, at + step)
    return found


def _tolerant(text: str, old: str, new: str) -> Found | Ambiguous | Missed:
    old_lines, new_lines = _block(old), _block(new)
    if not old_lines:
        return Missed()
    lines = text.split("\n")
    bare_file = [line.strip() for line in lines]
    bare_old = [line.strip() for line in old_lines]
    fits: list[tuple[int, Reindent]] = []
    for first in range(len(lines) - len(old_lines) + 1):
        if bare_file[first : first + len(bare_old)] != bare_old:
            continue
        reindent = fit(old_lines, lines[first : first + len(old_lines)])
        if reindent is not None:
            fits.append((first, reindent))
    if not fits:
        return Missed()
    strictest = min(reindent.looseness for _, reindent in fits)
    best = [(first, reindent) for first, reindent in fits if reindent.looseness == strictest]
    if len(best) > 1:
        return Ambiguous(tuple(first + 1 for first, _ in best), "white space")
    first, reindent = best[0]
    merged = _merge(lines[first : first + len(old_lines)], old_lines, new_lines, reindent)
    if merged is None:
        return Missed()
    start = sum(len(line) + 1 for line in lines[:first])
    end = start + sum(len(line) + 1 for line in lines[first : first + len(old_lines)])
    replacement = "".join(line + "\n" for line in merged)
    if end > len(text):  # the last line has no line feed, and gets none
        end -= 1
        replacement = replacement.removesuffix("\n")
    return Found((Place(start, end, replacement, "white space"),))


def _merge(region: list[str], old: list[str], new: list[str], reindent: Reindent) -> list[str] | None:
    """`new` as it fits the file; None where some line's indentation cannot be told for certain."""
    bare_old, bare_new = [line.rstrip() for line in old], [line.rstrip() for line in new]
    merged: list[str] = []
    steps = difflib.SequenceMatcher(None, bare_old, bare_new, autojunk=False).get_opcodes()
    for tag, old_from, old_to, new_from, new_to in steps:
        if tag == "equal":
            merged += region[old_from:old_to]
            continue
        for at in range(new_from, new_to):
            line = reindent(new[at], first=at == 0)
            if line is None:
                return None
            merged.append(line)
    return merged


def _block(text: str) -> list[str]:
    """Its lines, without blank ones at either end."""
    lines = text.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _is_numbered(old: str) -> bool:
    lines = [line for line in old.split("\n") if line.strip()]
    return bool(lines) and all(_NUMBERED.match(line) for line in lines)


def _without_numbers(text: str) -> str:
    """Without the line numbers that `read` puts before each line."""
    return "\n".join(_NUMBERED.sub("", line, count=1) for line in text.split("\n"))
