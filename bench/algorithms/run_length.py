from itertools import pairwise


def encode(text):
    """Run-length code of `text`: each run as its length and its sign, "aab" gives "2a1b"."""
    if not text:
        return ""
    parts = []
    count = 1
    for previous, sign in pairwise(text):
        if sign == previous:
            count += 1
        else:
            parts.append(f"{count}{previous}")
            count = 1
    parts.append(str(count) + text[-1])
    return "".join(parts)


def decode(code):
    """The text that `encode` made `code` from; counts may have several digits."""
    text = ""
    count = 0
    for sign in code:
        if sign.isdigit():
            count = count * 10 + int(sign)
        else:
            text += sign * count
            count = 0
    return text
