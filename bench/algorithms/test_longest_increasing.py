from longest_increasing import longest_increasing


def test_empty():
    assert longest_increasing([]) == []


def test_single():
    assert longest_increasing([4]) == [4]


def test_already_increasing():
    assert longest_increasing([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_decreasing_gives_last():
    assert longest_increasing([4, 3, 2, 1]) == [1]


def test_strict():
    assert longest_increasing([2, 2, 2]) == [2]


def test_mixed():
    assert longest_increasing([3, 1, 4, 1, 5, 9, 2, 6]) == [1, 4, 5, 6]


def test_jump_over_large():
    assert longest_increasing([10, 1, 11, 2, 12, 3]) == [1, 2, 3]


def test_late_small_does_not_break_chain():
    assert longest_increasing([5, 6, 7, 1]) == [5, 6, 7]
