"""Permits for gathering mushrooms; a date is an int such as 20260914."""

SEASON = (615, 1031)
PROTECTED = {"morel": 0, "cep": 1500, "chanterelle": 800}


def weekday(date):
    """0 for Monday to 6 for Sunday (Zeller's way, for dates after 1582)."""
    year, month, day = date // 10000, date // 100 % 100, date % 100
    if month < 3:
        month += 12
        year -= 1
    century, short = divmod(year, 100)
    return (day + 13 * (month + 1) // 5 + short + short // 4 + century // 4 - 2 * century + 5) % 7


def open_day(date):
    """Gathering is allowed in the season, on even days; on Sundays always, on Mondays never."""
    if not SEASON[0] <= date % 10000 <= SEASON[1]:
        return False
    if weekday(date) == 6:
        return True
    return weekday(date) != 0 and date % 2 == 0


def allowance(kind, members, resident):
    """Grams that a party may take of a kind: 2000 a head, less where it is protected.

    Visitors may take half. From the fifth member on nobody adds anything.
    """
    each = PROTECTED.get(kind, 2000)
    if not resident:
        each //= 2
    return each * min(members, 4)


def fine(basket, members, resident, date):
    """Euros: 5 for each 100 g begun above the allowance of a kind, 80 more on a closed day.

    On a closed day nothing is allowed at all.
    """
    is_open = open_day(date)
    total = 0 if is_open else 80
    for kind, grams in basket.items():
        over = grams - (allowance(kind, members, resident) if is_open else 0)
        if over > 0:
            total += (over + 99) // 100 * 5
    return total
