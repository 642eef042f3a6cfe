"""How a block of lines was re-indented, so that other lines can follow it the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True)
class Reindent:
    """Maps a line as the model wrote it to a line as the file would have it."""

    looseness: int
    """0: only trailing white space differs; 1: shifted as a block; 2: other units; 3: first line bare."""
    rest: Callable[[str], str | None]
    """From the written indentation to the file's; None where that cannot be told."""
    first: Callable[[str], str | None] | None = None
    """The same for the first line, where it differs."""

    def __call__(self, line: str, *, first: bool) -> str | None:
        body = line.lstrip()
        if not body:
            return ""
        convert = self.first if first and self.first is not None else self.rest
        indent = convert(line[: len(line) - len(body)])
        return None if indent is None else indent + body


def fit(written: list[str], actual: list[str]) -> Reindent | None:
    """The re-indentation that turns `written` into `actual`; None where no single one does.

    Both hold the same lines but for white space at either end of each, and at least one is not blank;
    the first is not.
    """
    pairs = [(_indent(w), _indent(a)) for w, a in zip(written, actual, strict=True) if w.strip()]
    if all(w == a for w, a in pairs):
        return Reindent(0, lambda indent: indent)
    shift = _shift(pairs)
    if shift is not None:
        return Reindent(1, shift)
    units = _units(pairs)
    if units is not None:
        return Reindent(2, units)
    return _bare_first(pairs)


def _bare_first(pairs: list[tuple[str, str]]) -> Reindent | None:
    """The first line was quoted without its indentation, the others with theirs."""
    (written, actual), others = pairs[0], pairs[1:]
    if written or not actual or not others:
        return None
    rest = _shift(others)
    if rest is None:
        return None
    return Reindent(3, rest, first=lambda indent: actual + indent)


def _shift(pairs: list[tuple[str, str]]) -> Callable[[str], str | None] | None:
    """All lines moved by the same white space, to the right or to the left."""
    written, actual = pairs[0]
    if actual.endswith(written):
        more = actual.removesuffix(written)
        if all(a == more + w for w, a in pairs):
            return lambda indent: more + indent
    if written.endswith(actual):
        less = written.removesuffix(actual)
        if all(w == less + a for w, a in pairs):
            return lambda indent: indent.removeprefix(less) if indent.startswith(less) else None
    return None


def _units(pairs: list[tuple[str, str]]) -> Callable[[str], str | None] | None:
    """Every level written in one unit stands in the file in another (tabs for spaces, two for four)."""
    units = _unit_pair([w for w, _ in pairs], [a for _, a in pairs])
    if units is None:
        return None
    written_unit, actual_unit = units

    def convert(indent: str) -> str | None:
        levels = len(indent) // len(written_unit)
        return actual_unit * levels if indent == written_unit * levels else None

    return convert if all(convert(w) == a for w, a in pairs) else None


def _unit_pair(written: list[str], actual: list[str]) -> tuple[str, str] | None:
    """One level of indentation on either side; None where a side mixes tabs and spaces or has none."""
    used = set("".join(written)), set("".join(actual))
    spaces, tabs = {" "}, {"\t"}
    if used == (spaces, spaces):
        return " " * gcd(*map(len, written)), " " * gcd(*map(len, actual))
    if used == (spaces, tabs):
        width = _width(written, actual)
        return (" " * width, "\t") if width else None
    if used == (tabs, spaces):
        width = _width(actual, written)
        return ("\t", " " * width) if width else None
    return None


def _width(spaces: list[str], tabs: list[str]) -> int:
    """Spaces for one tab, as the first indented line has it; 0 where that is no whole number."""
    width, rest = next(divmod(len(s), len(t)) for s, t in zip(spaces, tabs, strict=True) if t)
    return 0 if rest else width


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
