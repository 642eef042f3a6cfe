"""Scales recipe cards: amounts are kept in quarters of a unit."""

FRACTIONS = {0: "", 1: "1/4", 2: "1/2", 3: "3/4"}
COUNTED = {"egg", "onion", "lemon"}


def scale(quarters, name, factor_percent):
    """The scaled amount in quarters: rounded to the nearest, a half up, and never to nothing.

    What is counted (eggs, onions) is rounded to the nearest whole piece, a half down, one at least.
    """
    exact = quarters * factor_percent
    if name in COUNTED:
        whole = (exact + 199) // 400
        return max(whole, 1) * 4
    return max((exact + 50) // 100, 1)


def amount(quarters):
    """Text of an amount: "2 1/4", "3/4" or "5"."""
    whole, rest = divmod(quarters, 4)
    parts = [str(whole)] if whole else []
    if FRACTIONS[rest]:
        parts.append(FRACTIONS[rest])
    return " ".join(parts)


def card(title, ingredients, factor_percent=100):
    """Lines of a card, amounts flush right in a column as wide as the widest.

    `ingredients` are (quarters, unit, name); salt is always "to taste" and comes last.
    """
    rows = []
    for quarters, unit, name in ingredients:
        if name == "salt":
            continue
        text = f"{amount(scale(quarters, name, factor_percent))} {unit}".strip()
        rows.append((text, name))
    width = max((len(text) for text, _ in rows), default=0)
    lines = [title.upper(), *(f"{text:>{width}}  {name}" for text, name in rows)]
    if len(rows) < len(ingredients):
        lines.append("salt to taste")
    return lines
