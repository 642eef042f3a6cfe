"""Labels of burial plots, such as "N-07B/3-K": section, row, side, place and a check letter."""

CHECK = "ABCDEFGHJKLMNPRSTUVWXYZ"
SECTIONS = {"N": 1, "E": 2, "S": 4, "W": 8}


def check_letter(section, row, side, place):
    """Check letter of a label: section value x 7 + row x 3 + place x 5, and 11 more on side B, modulo 23."""
    total = SECTIONS[section] * 7 + row * 3 + place * 5
    if side == "B":
        total += 11
    return CHECK[total % len(CHECK)]


def label(section, row, side, place):
    """The label of a plot; rows have two digits, and the side of rows above 50 is always A."""
    if row > 50:
        side = "A"
    return f"{section}-{row:02d}{side}/{place}-{check_letter(section, row, side, place)}"


def parse(text):
    """(section, row, side, place) of a label; blanks and small letters do not matter.

    Raises ValueError where a part or the check letter is wrong.
    """
    text = text.replace(" ", "").upper()
    section, sep, rest = text.partition("-")
    if not sep or section not in SECTIONS:
        raise ValueError(f"no section in {text!r}")
    body, _, check = rest.rpartition("-")
    row_side, _, place = body.partition("/")
    if not row_side[:-1].isdigit() or row_side[-1:] not in ("A", "B") or not place.isdigit():
        raise ValueError(f"not a label: {text!r}")
    parts = (section, int(row_side[:-1]), row_side[-1], int(place))
    if check != check_letter(*parts):
        raise ValueError(f"wrong check letter in {text!r}")
    return parts
