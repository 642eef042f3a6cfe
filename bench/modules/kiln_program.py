"""Firing programs of a pottery kiln: segments of (degrees an hour, target, minutes held)."""

ROOM = 20


def minutes_of(program, start=ROOM):
    """Minutes that a program takes; each climb or fall takes whole minutes, begun ones count.

    A rate of 0 means as fast as the kiln can: 600 degrees an hour up, 180 down.
    """
    total = 0
    temperature = start
    for rate, target, hold in program:
        change = target - temperature
        if rate == 0:
            rate = 600 if change > 0 else 180
        total += -(-abs(change) * 60 // rate) + hold
        temperature = target
    return total


def problems(program):
    """What speaks against a program, as sentences; an empty list where nothing does."""
    found = []
    temperature = ROOM
    for number, (rate, target, _) in enumerate(program, start=1):
        if target > 1280:
            found.append(f"segment {number}: {target} is too hot")
        # Quartz turns over at 573 degrees: whoever passes it faster than 100 an hour cracks the ware.
        low, high = sorted((temperature, target))
        if low < 573 <= high and (rate == 0 or rate > 100):
            found.append(f"segment {number}: too fast through 573")
        temperature = target
    if program and temperature > 200:
        found.append("the kiln is opened hot")
    return found


def cost(program, cents_per_kwh):
    """Cents for a firing: 7 kW while it climbs or holds above 600 degrees, 3 kW while it holds lower."""
    watt_minutes = 0
    temperature = ROOM
    for segment in program:
        rate, target, hold = segment
        if target > temperature:
            watt_minutes += minutes_of([(rate, target, 0)], temperature) * 7000
        watt_minutes += hold * (7000 if target > 600 else 3000)
        temperature = target
    return round(watt_minutes * cents_per_kwh / 60_000)
