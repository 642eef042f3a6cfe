from merge_sort import merge_sort


def test_empty():
    assert merge_sort([]) == []


def test_single():
    assert merge_sort([3]) == [3]


def test_two():
    assert merge_sort([2, 1]) == [1, 2]


def test_odd_length():
    assert merge_sort([5, 2, 9, 1, 7]) == [1, 2, 5, 7, 9]


def test_duplicates():
    assert merge_sort([3, 1, 3, 2, 1]) == [1, 1, 2, 3, 3]


def test_key():
    assert merge_sort(["ccc", "a", "bb"], key=len) == ["a", "bb", "ccc"]


def test_stable():
    assert merge_sort(["b1", "a1", "b2", "a2"], key=lambda s: s[0]) == ["a1", "a2", "b1", "b2"]


def test_input_is_left_alone():
    values = [3, 2, 1]
    merge_sort(values)
    assert values == [3, 2, 1]


def test_longer():
    values = [(i * 37) % 101 for i in range(101)]
    assert merge_sort(values) == list(range(101))
