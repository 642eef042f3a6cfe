"""Tolls of a bridge, in cents; a day's crossings of a vehicle are charged together."""

RATES = {"motorcycle": 110, "car": 240, "van": 390, "lorry": 720}


def charge(kind, minutes, axles=2):
    """Toll for one vehicle's crossings, given as minutes of the day.

    A crossing within 40 minutes after a charged one is free. Between 6:30 and 9:00 a fifth is added.
    Lorries pay a quarter more for each axle above three. No more than three full tolls are charged.
    """
    full = RATES[kind]
    if kind == "lorry":
        full += max(0, axles - 3) * (full // 4)
    total = 0
    last_charged = None
    for minute in sorted(minutes):
        if last_charged is not None and minute - last_charged <= 40:
            continue
        last_charged = minute
        total += full
        if 390 <= minute < 540:
            total += full // 5
    return min(total, 3 * full)


def day_report(crossings):
    """{plate: cents} from (minute, plate, kind) records; a plate seen as two kinds pays as the dearer."""
    minutes = {}
    kinds = {}
    for minute, plate, kind in crossings:
        minutes.setdefault(plate, []).append(minute)
        known = kinds.get(plate, kind)
        kinds[plate] = max(known, kind, key=RATES.__getitem__)
    return {plate: charge(kinds[plate], minutes[plate]) for plate in sorted(minutes)}


def month_bill(days, commuter=False):
    """Bill from the tolls of each day; commuters get every day beyond the twelfth charged one free."""
    charged = [toll for toll in days if toll > 0]
    if commuter:
        charged = charged[:12]
    return sum(charged)
