"""Lines as the model sees them: each with its number, so that a place can be named."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_LINE = 1_000


def number(lines: Iterable[str], first: int) -> list[str]:
    """`   12→text` for each line; a very long line is cut, and says so."""
    return [f"{at:5}→{clip(line, _LONGEST_LINE)}" for at, line in enumerate(lines, first)]


def wrap(text: str) -> list[str]:
    """The lines of `text`; a very long one in several pieces, so that all of it can be shown."""
    lines: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        lines += [line[at : at + _LONGEST_LINE] for at in range(0, len(line), _LONGEST_LINE)] or [""]
    return lines


def clip(line: str, longest: int) -> str:
    return line if len(line) <= longest else f"{line[:longest]} [… {len(line) - longest:,} more characters]"
