"""When a harbour's tide gate can be passed; times are minutes, heights centimetres."""


def openings(tides, sill=310):
    """Windows in which the gate stands open.

    `tides` are (minute, height) of high waters. A gate opens around a high water above the sill: one
    minute to both sides for every 2 cm above it, at most 150. Windows that touch become one.
    """
    windows = []
    for minute, height in sorted(tides):
        if height <= sill:
            continue
        half = min((height - sill) // 2, 150)
        start, end = minute - half, minute + half
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def next_passage(tides, arrival, draught, sill=310):
    """The minute at which a boat can pass, or None.

    A draught over 140 cm needs 25 cm more over the sill. It passes no later than ten minutes before
    closing, and needs to wait for the opening where it comes early.
    """
    if draught > 140:
        sill += 25
    for start, end in openings(tides, sill):
        if arrival <= end - 10 and end - start >= 10:
            return max(arrival, start)
    return None
