"""Lines as the model sees them: each with its number, so that a place can be named."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_LINE = 1_000


def number(lines: Iterable[str], first: int) -> list[str]:
    """`   12→text` for each line; a very long line is cut, and says so."""
    return [f"{at:5}→{clip(line, _LONGEST_LINE)}" for at, line in enumerate(lines, first)]


def clip(line: str, longest: int) -> str:
    return line if len(line) <= longest else f"{line[:longest]} [… {len(line) - longest:,} more characters]"
