def binary_search(items, target):
    """Index of `target` in the ascending list `items`, or -1 where it is absent.

    Of several equal items, the index of the first one is returned.
    """
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if items[middle] < target:
            low = middle + 1
        else:
            high = middle
    if low < len(items) and items[low] == target:
        return low
    return -1
