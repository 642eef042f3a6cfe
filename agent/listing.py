"""Names in a sentence: some of them, and how many there are besides."""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMED = 5


def listed(names: Sequence[str], *, most: int = MOST_NAMED, between: str = ", ") -> str:
    """The first ones, and "and N more" where there are more: nothing is left out in silence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more
