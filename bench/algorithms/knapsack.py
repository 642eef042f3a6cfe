def knapsack(items, capacity):
    """Best total value of items whose weights together do not exceed `capacity`.

    `items` are (weight, value) pairs with positive integer weights; each can be taken once.
    """
    best = [0] * (capacity + 1)
    for weight, value in items:
        for room in range(capacity, weight - 1, -1):
            taken = best[room - weight] + value
            if taken > best[room]:
                best[room] = taken
    return best[capacity]
