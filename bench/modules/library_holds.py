"""Who gets a returned book next."""

WEIGHTS = {"staff": 0, "child": 3, "adult": 1}


def priority(hold, today):
    """Higher goes first: the reader's weight, one for each full week of waiting, five for course books.

    A reader with an overdue book counts nothing but the weeks, and those only by halves, rounded down.
    """
    weeks = (today - hold["since"]) // 7
    if hold.get("overdue", 0) > 0:
        return weeks // 2
    points = WEIGHTS.get(hold["kind"], 1) + weeks
    if hold.get("course"):
        points += 5
    return points


def queue(holds, today):
    """Readers in the order they will be served; equal ones by the day of the hold, then by name.

    A hold that is suspended until after today is left out.
    """
    active = [h for h in holds if h.get("suspended_until", 0) <= today]
    active.sort(key=lambda h: (-priority(h, today), h["since"], h["reader"]))
    return [h["reader"] for h in active]


def assign(copies, holds, today):
    """Which copy goes to whom: {copy: reader}. A reference copy only ever goes to staff."""
    waiting = queue(holds, today)
    staff = {h["reader"] for h in holds if h["kind"] == "staff"}
    given = {}
    for copy in copies:
        fitting = [r for r in waiting if r in staff or not copy.startswith("REF-")]
        if fitting:
            given[copy] = fitting[0]
            waiting.remove(fitting[0])
    return given
