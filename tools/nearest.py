"""Where an edit missed: the region of the file that is most like what was looked for, and how it differs."""

from __future__ import annotations

import difflib
from collections import defaultdict
from dataclasses import dataclass

_ALIKE = 0.5
# Bounds on work, not on what is found in ordinary files: a repository may hold lines that make
# comparing them slow.
_ANCHORS = 6
_PLACES = 12
_CLOSER_LOOKS = 8
_FILE_LINES = 4_000
_LINE_CHARACTERS = 200
_COMPARED_LINES = 60


@dataclass(frozen=True)
class Region:
    first_line: int
    last_line: int
    ratio: float
    """How alike the two are, from 0 to 1, white space at line ends not counted."""
    diff: tuple[str, ...]
    """`-` a line as `old` has it, `+` as the file has it (with its number), ` ` where they agree."""


def nearest(text: str, old: str) -> Region | None:
    """The lines of `text` most like `old`; None where nothing resembles it.

    Anchors on the most telling lines of `old` (the longest), first where they stand word for word, else
    where a similar line stands; compares the regions around those.
    """
    lines = text.split("\n")
    wanted = old.strip("\n").split("\n")
    bare = [line.strip()[:_LINE_CHARACTERS] for line in lines]
    bare_wanted = [line.strip()[:_LINE_CHARACTERS] for line in wanted]

    def likeness(first: int, *, exact: bool) -> float:
        return _likeness(bare[first : first + len(wanted)], bare_wanted, exact=exact)

    starts = sorted(_starts(bare, bare_wanted))
    starts.sort(key=lambda first: likeness(first, exact=False), reverse=True)
    scored = [(likeness(first, exact=True), first) for first in starts[:_CLOSER_LOOKS]]
    if not scored:
        return None
    ratio, first = max(scored, key=lambda pair: pair[0])
    if ratio < _ALIKE:
        return None
    region = lines[first : first + len(wanted)]
    return Region(first + 1, first + len(region), ratio, tuple(_diff(wanted, region, first + 1)))


def _starts(bare: list[str], wanted: list[str]) -> set[int]:
    where: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(bare):
        where[line].append(number)
    anchors = sorted((-len(line), at) for at, line in enumerate(wanted) if line)[:_ANCHORS]
    last = max(0, len(bare) - len(wanted))
    found: set[int] = set()
    for _, at in anchors:
        line = wanted[at]
        numbers = where.get(line) or _similar(line, bare)
        found |= {min(max(0, number - at), last) for number in numbers[:_PLACES]}
    return found


def _similar(line: str, bare: list[str]) -> list[int]:
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(line)
    rough: list[tuple[float, int]] = []
    for number, other in enumerate(bare[:_FILE_LINES]):
        matcher.set_seq1(other)
        if matcher.real_quick_ratio() >= _ALIKE and (ratio := matcher.quick_ratio()) >= _ALIKE:
            rough.append((-ratio, number))
    best: list[tuple[float, int]] = []
    for _, number in sorted(rough)[:_CLOSER_LOOKS]:
        matcher.set_seq1(bare[number])
        if (ratio := matcher.ratio()) >= _ALIKE:
            best.append((-ratio, number))
    return [number for _, number in sorted(best)[:3]]


def _likeness(region: list[str], wanted: list[str], *, exact: bool) -> float:
    """Mean likeness of lines at the same place, by length; an upper bound of it where not `exact`."""
    pairs = list(zip(region, wanted, strict=False))[:_COMPARED_LINES]
    alike = 0.0
    for there, line in pairs:
        matcher = difflib.SequenceMatcher(None, there, line, autojunk=False)
        same = 1.0 if there == line else matcher.ratio() if exact else matcher.quick_ratio()
        alike += same * (len(line) + 1)
    return alike / sum(len(line) + 1 for line in wanted[:_COMPARED_LINES])


def _diff(wanted: list[str], region: list[str], first_line: int) -> list[str]:
    shown: list[str] = []
    steps = difflib.SequenceMatcher(None, wanted, region, autojunk=False).get_opcodes()
    for tag, old_from, old_to, from_, to in steps:
        if tag == "equal":
            shown += [f"  {first_line + at:5}→{region[at]}" for at in range(from_, to)]
            continue
        shown += [f"-      →{line}" for line in wanted[old_from:old_to]]
        shown += [f"+ {first_line + at:5}→{region[at]}" for at in range(from_, to)]
    return shown
