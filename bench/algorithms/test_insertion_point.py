from insertion_point import insert_sorted, insertion_point


def test_right_of_equals():
    assert insertion_point([1, 2, 2, 3], 2) == 3


def test_left_of_equals():
    assert insertion_point([1, 2, 2, 3], 2, right=False) == 1


def test_between():
    assert insertion_point([10, 20, 30], 25) == 2
    assert insertion_point([10, 20, 30], 25, right=False) == 2


def test_ends():
    assert insertion_point([10, 20], 5) == 0
    assert insertion_point([10, 20], 50) == 2


def test_empty():
    assert insertion_point([], 1) == 0


def test_insert_keeps_order():
    items = [1, 4, 9]
    assert insert_sorted(items, 5) == 2
    assert items == [1, 4, 5, 9]


def test_insert_many():
    items = []
    for value in [5, 1, 4, 1, 3]:
        insert_sorted(items, value)
    assert items == [1, 1, 3, 4, 5]


def test_insert_after_equal():
    items = [1, 1.0]
    assert insert_sorted(items, 1) == 2
