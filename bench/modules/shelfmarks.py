"""Shelfmarks of a small archive, such as "Ms. 12a fol. 3v" or "Map 7", and their order on the shelf."""

import re

FORM = re.compile(r"(Ms|Pr|Map)\.? (\d+)([a-z]?)(?: fol\. (\d+)([rv]?))?")
ORDER = {"Ms": 0, "Pr": 1, "Map": 2}


def sort_key(mark):
    """Manuscripts before prints before maps, then by number, letter and leaf.

    A leaf's front (r, or nothing said) comes before its back (v); a whole item before its leaves.
    Raises ValueError where it is no shelfmark.
    """
    match = FORM.fullmatch(mark.strip())
    if match is None:
        raise ValueError(f"not a shelfmark: {mark!r}")
    kind, number, letter, leaf, side = match.groups()
    back = 1 if side == "v" else 0
    return ORDER[kind], int(number), letter, int(leaf or 0), back


def short(marks):
    """A list of shelfmarks in order, runs of neighbouring numbers drawn together: "Map 3-5, Map 9"."""
    runs = []
    for mark in sorted(set(marks), key=sort_key):
        kind, number, letter, leaf, _ = sort_key(mark)
        plain = not letter and not leaf
        if runs and plain and runs[-1]["plain"] and runs[-1]["next"] == (kind, number):
            runs[-1]["next"] = (kind, number + 1)
            runs[-1]["last"] = number
        else:
            runs.append({"mark": mark, "plain": plain, "next": (kind, number + 1), "last": None})
    return ", ".join(r["mark"] if r["last"] is None else f"{r['mark']}-{r['last']}" for r in runs)


def leaves(first, last):
    """Number of pages from one leaf to another of the same item, both included."""
    one, two = sort_key(first), sort_key(last)
    if one[:3] != two[:3] or one > two or one[3] == 0:
        raise ValueError(f"no range from {first} to {last}")
    return (two[3] - one[3]) * 2 + two[4] - one[4] + 1
