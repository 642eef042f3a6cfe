from edit_distance import edit_distance


def test_equal():
    assert edit_distance("kitten", "kitten") == 0


def test_empty():
    assert edit_distance("", "") == 0
    assert edit_distance("abc", "") == 3
    assert edit_distance("", "ab") == 2


def test_one_substitution():
    assert edit_distance("cat", "cut") == 1


def test_one_insertion():
    assert edit_distance("cat", "cart") == 1


def test_one_deletion():
    assert edit_distance("cart", "cat") == 1


def test_classic():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("intention", "execution") == 5


def test_swap_costs_two():
    assert edit_distance("ab", "ba") == 2


def test_lists():
    assert edit_distance([1, 2, 3, 4], [2, 3, 5]) == 2
