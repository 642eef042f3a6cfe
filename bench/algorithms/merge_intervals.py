from itertools import pairwise


def merge_intervals(intervals):
    """Disjoint intervals, ascending, that cover the same points as the closed `intervals`.

    Intervals that touch are joined: (1, 2) and (2, 5) give (1, 5).
    """
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            last_start, last_end = merged.pop()
            merged.append((last_start, max(last_end, end)))
        else:
            merged.append((start, end))
    return merged


def gaps(intervals):
    """The open spaces between the merged `intervals`, ascending, as (start, end) pairs."""
    merged = merge_intervals(intervals)
    return [(left[1], right[0]) for left, right in pairwise(merged)]
