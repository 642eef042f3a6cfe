from shortest_path import shortest_path

ROADS = {
    "a": {"b": 7, "c": 3},
    "b": {"d": 2},
    "c": {"b": 1, "d": 8},
    "d": {"e": 2},
    "z": {"a": 1},
}


def test_direct():
    assert shortest_path(ROADS, "a", "c") == (3, ["a", "c"])


def test_detour_is_shorter():
    assert shortest_path(ROADS, "a", "b") == (4, ["a", "c", "b"])


def test_long():
    assert shortest_path(ROADS, "a", "e") == (8, ["a", "c", "b", "d", "e"])


def test_start_is_goal():
    assert shortest_path(ROADS, "b", "b") == (0, ["b"])


def test_unreachable():
    assert shortest_path(ROADS, "e", "a") == (None, [])
    assert shortest_path(ROADS, "a", "z") == (None, [])


def test_unknown_node():
    assert shortest_path(ROADS, "a", "nowhere") == (None, [])


def test_zero_edges():
    assert shortest_path({"a": {"b": 0}, "b": {"c": 0}}, "a", "c") == (0, ["a", "b", "c"])


def test_first_of_equal_paths():
    graph = {"a": {"b": 1, "c": 1}, "b": {"d": 1}, "c": {"d": 1}}
    assert shortest_path(graph, "a", "d") == (2, ["a", "b", "d"])
