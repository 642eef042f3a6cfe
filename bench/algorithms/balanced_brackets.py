PAIRS = {")": "(", "]": "[", "}": "{"}


def is_balanced(text):
    """Whether all round, square and curly brackets in `text` are closed in the right order."""
    open_brackets = []
    for sign in text:
        if sign in PAIRS.values():
            open_brackets.append(sign)
        elif sign in PAIRS and (not open_brackets or open_brackets.pop() != PAIRS[sign]):
            return False
    return not open_brackets


def longest_valid(text):
    """Length of the longest balanced stretch in a `text` of round brackets only."""
    best = 0
    starts = [-1]
    for i, sign in enumerate(text):
        if sign == "(":
            starts.append(i)
            continue
        starts.pop()
        if starts:
            best = max(best, i - starts[-1])
        else:
            starts.append(i)
    return best
