def permutations(items):
    """All orders of `items` as lists, in lexicographic order of positions."""
    if not items:
        return [[]]
    result = []
    for i, first in enumerate(items):
        rest = items[:i] + items[i + 1 :]
        for tail in permutations(rest):
            result.append([first, *tail])
    return result


def next_permutation(values):
    """Rearrange the list in place to its next order; False (and sorted) after the last one."""
    i = len(values) - 2
    while i >= 0 and values[i] >= values[i + 1]:
        i -= 1
    if i < 0:
        values.reverse()
        return False
    j = len(values) - 1
    while values[j] <= values[i]:
        j -= 1
    values[i], values[j] = values[j], values[i]
    values[i + 1 :] = reversed(values[i + 1 :])
    return True
