"""Pay of porters, in pence; times are minutes after midnight of the day a shift starts."""

DAY = 24 * 60


def overlap(start, end, window_start, window_end):
    """Minutes that two stretches of time share."""
    return max(0, min(end, window_end) - max(start, window_start))


def night_minutes(start, end):
    """Minutes of a shift between 22:00 and 05:30; a shift may run past midnight, `end` above 1440."""
    early = overlap(start, end, 0, 330)
    late = overlap(start, end, 22 * 60, DAY + 330)
    return early + late


def shift_pay(start, end, rate):
    """Pay of one shift at `rate` pence an hour, rounded up to whole pence.

    An `end` not after `start` is on the next day. Past six hours, 30 minutes of break are unpaid,
    taken from the day minutes first. A night minute counts as five quarters; a shift with more than
    four hours of night counts all its minutes so.
    """
    if end <= start:
        end += DAY
    night = night_minutes(start, end)
    day = end - start - night
    if end - start > 360:
        from_day = min(day, 30)
        day -= from_day
        night -= 30 - from_day
    if night > 240:
        day, night = 0, day + night
    quarters = day * 4 + night * 5
    return -(-quarters * rate // 240)
