from bisect import bisect_left


def longest_increasing(values):
    """A longest strictly increasing subsequence of `values`, as a list.

    Of several of the same length, one whose last item is smallest.
    """
    tails = []
    tail_index = []
    previous = [-1] * len(values)
    for i, value in enumerate(values):
        place = bisect_left(tails, value)
        if place > 0:
            previous[i] = tail_index[place - 1]
        if place == len(tails):
            tails.append(value)
            tail_index.append(i)
        else:
            tails[place] = value
            tail_index[place] = i
    result = []
    at = tail_index[-1] if tail_index else -1
    while at != -1:
        result.append(values[at])
        at = previous[at]
    return result[::-1]
