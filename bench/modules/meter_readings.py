"""Water consumption from meter readings; a meter has four digits and starts again after 9999."""

from itertools import pairwise

TURN = 10_000


def consumption(old, new):
    """Cubic metres between two readings; a jump of more than half a turn backwards means a new turn.

    A smaller step backwards is a misreading and raises ValueError.
    """
    if new >= old:
        return new - old
    if old - new > TURN // 2:
        return new + TURN - old
    raise ValueError(f"{new} after {old} cannot be")


def monthly(readings):
    """Consumption of each month from (month number, reading) pairs; months without reading share evenly.

    Months count on from year to year. What does not divide goes to the first of the months.
    """
    result = {}
    for (before, old), (month, new) in pairwise(readings):
        span = month - before
        share, rest = divmod(consumption(old, new), span)
        for i in range(span):
            result[before + 1 + i] = share + (rest if i == 0 else 0)
    return result


def leaks(by_month, factor=3):
    """Months that used at least `factor` times the mean of the two months before, and above 5."""
    found = []
    for month in sorted(by_month):
        earlier = [by_month[m] for m in (month - 1, month - 2) if m in by_month]
        if len(earlier) == 2 and by_month[month] > 5 and by_month[month] * 2 >= factor * sum(earlier):
            found.append(month)
    return found


def bill(cubic_metres, persons):
    """Cents: 4 cubic metres a head at 110, what exceeds them at 185, at most 90 euros."""
    cheap = min(cubic_metres, 4 * persons)
    return min(cheap * 110 + (cubic_metres - cheap) * 185, 9000)
