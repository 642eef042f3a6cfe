from collections import deque


def topological_order(edges):
    """Order of all nodes in which every node comes after the nodes it points from.

    `edges` maps a node to the nodes that must come after it. Of nodes that are free at the same time,
    the one met first comes first. Raises ValueError where the graph has a cycle.
    """
    waiting = {}
    for node, successors in edges.items():
        waiting.setdefault(node, 0)
        for successor in successors:
            waiting[successor] = waiting.get(successor, 0) + 1
    free = deque(node for node, count in waiting.items() if count == 0)
    order = []
    while free:
        node = free.popleft()
        order.append(node)
        for successor in edges.get(node, []):
            waiting[successor] -= 1
            if waiting[successor] == 0:
                free.append(successor)
    if len(order) < len(waiting):
        raise ValueError("the graph has a cycle")
    return order
