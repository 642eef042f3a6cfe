import pytest
from topological_order import topological_order


def test_chain():
    assert topological_order({"a": ["b"], "b": ["c"]}) == ["a", "b", "c"]


def test_diamond():
    assert topological_order({"a": ["b", "c"], "b": ["d"], "c": ["d"]}) == ["a", "b", "c", "d"]


def test_listed_backwards():
    assert topological_order({"c": [], "b": ["c"], "a": ["b"]}) == ["a", "b", "c"]


def test_separate_parts():
    assert topological_order({"a": ["b"], "x": ["y"]}) == ["a", "x", "b", "y"]


def test_empty():
    assert topological_order({}) == []


def test_single():
    assert topological_order({"only": []}) == ["only"]


def test_cycle():
    with pytest.raises(ValueError):
        topological_order({"a": ["b"], "b": ["a"]})


def test_cycle_behind_a_start():
    with pytest.raises(ValueError):
        topological_order({"start": ["a"], "a": ["b"], "b": ["a"]})


def test_waits_for_all_predecessors():
    order = topological_order({"a": ["d"], "b": ["d"], "c": ["b"], "d": []})
    assert order == ["a", "c", "b", "d"]
