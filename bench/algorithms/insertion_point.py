def insertion_point(items, value, right=True):
    """Position at which `value` keeps the ascending list `items` in order.

    With `right` the position after all equal items, without it the one before them.
    """
    low = 0
    high = len(items)
    while low < high:
        middle = (low + high) // 2
        if value < items[middle] or (not right and value == items[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def insert_sorted(items, value):
    """Insert `value` into the ascending list `items` in place, after equal items; return its index."""
    position = insertion_point(items, value)
    items.insert(position, value)
    return position
