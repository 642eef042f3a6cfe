"""Names in a sentence: some of them, and how many there are besides."""

from __future__ import annotations

from collections.abc import Sequence

from tools.plain_text import printable

MOST_NAMED = 5


def listed(names: Sequence[str], *, most: int = MOST_NAMED, between: str = ", ") -> str:
    """The first ones, and "and N more" where there are more: nothing is left out in silence.

    A name stays on its line: one of a repository's could go on as if it were Ostro's words, to the model too.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(map(printable, names[:most])) + more
