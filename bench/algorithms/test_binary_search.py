from binary_search import binary_search


def test_finds_middle():
    assert binary_search([1, 3, 5, 7, 9], 5) == 2


def test_finds_both_ends():
    assert binary_search([1, 3, 5, 7], 1) == 0
    assert binary_search([1, 3, 5, 7], 7) == 3


def test_absent_between():
    assert binary_search([1, 3, 5, 7], 4) == -1


def test_absent_outside():
    assert binary_search([1, 3, 5, 7], 0) == -1
    assert binary_search([1, 3, 5, 7], 8) == -1


def test_empty():
    assert binary_search([], 3) == -1


def test_first_of_equals():
    assert binary_search([1, 2, 2, 2, 3], 2) == 1
    assert binary_search([2, 2, 2, 2], 2) == 0


def test_every_position():
    items = list(range(0, 40, 2))
    assert [binary_search(items, x) for x in items] == list(range(20))
