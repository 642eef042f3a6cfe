def quickselect(values, k):
    """The k-th smallest of `values`, k counting from 0; `values` is left as it was.

    Raises IndexError where k is out of range.
    """
    if not 0 <= k < len(values):
        raise IndexError(k)
    rest = list(values)
    while True:
        pivot = rest[len(rest) // 2]
        below = [v for v in rest if v < pivot]
        equal = [v for v in rest if v == pivot]
        if k < len(below):
            rest = below
        elif k < len(below) + len(equal):
            return pivot
        else:
            k -= len(below) + len(equal)
            rest = [v for v in rest if v > pivot]
