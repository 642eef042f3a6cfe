SYMBOLS = [
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
]  # fmt: skip


def to_roman(number):
    """Roman numeral of a number from 1 to 3999; ValueError outside."""
    if not 1 <= number <= 3999:
        raise ValueError(number)
    text = ""
    for value, symbol in SYMBOLS:
        while number >= value:
            text += symbol
            number -= value
    return text


def from_roman(text):
    """Number that a Roman numeral stands for; a smaller sign before a larger one is subtracted."""
    values = {symbol: value for value, symbol in SYMBOLS if len(symbol) == 1}
    total = 0
    for i, sign in enumerate(text):
        value = values[sign]
        if i + 1 < len(text) and values[text[i + 1]] > value:
            total -= value
        else:
            total += value
    return total
