"""Fog signals of lighthouses, written "2L1S/30": two long and one short blast every 30 seconds."""

LENGTHS = {"S": 1, "L": 4}


def parse(code):
    """(blasts, period): the blasts as a string of L and S, the period in seconds.

    A blast without a number stands for one. Raises ValueError for an empty or unreadable code.
    """
    pattern, slash, period = code.partition("/")
    if not slash or not pattern or not period.isdigit():
        raise ValueError(f"not a signal: {code!r}")
    blasts = ""
    number = ""
    for sign in pattern:
        if sign.isdigit():
            number += sign
        elif sign in LENGTHS:
            blasts += sign * int(number or 1)
            number = ""
        else:
            raise ValueError(f"unknown blast {sign!r}")
    if number:
        raise ValueError("a number without a blast")
    return blasts, int(period)


def sounding(code):
    """Second by second, one period: "#" for sound and "." for silence.

    A second of silence lies between short blasts, two before and after a long one. A signal that fills
    its period, without two seconds of silence at its end, is refused.
    """
    blasts, period = parse(code)
    line = ""
    previous = ""
    for blast in blasts:
        if previous:
            line += ".." if "L" in (previous, blast) else "."
        line += "#" * LENGTHS[blast]
        previous = blast
    if len(line) + 2 > period:
        raise ValueError("the period is too short")
    return line.ljust(period, ".")


def same_signal(left, right):
    """Whether two codes sound the same, wherever in the period one begins to listen."""
    a, b = sounding(left), sounding(right)
    return len(a) == len(b) and a in b + b
