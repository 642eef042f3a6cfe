import heapq


def shortest_path(graph, start, goal):
    """(length, nodes) of a shortest path, or (None, []) where `goal` cannot be reached.

    `graph` maps a node to a dict of its neighbours and the non-negative length of each edge.
    """
    queue = [(0, start)]
    distance = {start: 0}
    came_from = {}
    while queue:
        length, node = heapq.heappop(queue)
        if node == goal:
            break
        if length > distance[node]:
            continue
        for neighbour, edge in graph.get(node, {}).items():
            candidate = length + edge
            if neighbour not in distance or candidate < distance[neighbour]:
                distance[neighbour] = candidate
                came_from[neighbour] = node
                heapq.heappush(queue, (candidate, neighbour))
    if goal not in distance:
        return None, []
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return distance[goal], path[::-1]
