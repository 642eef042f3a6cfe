from merge_intervals import gaps, merge_intervals


def test_empty():
    assert merge_intervals([]) == []


def test_disjoint_sorted():
    assert merge_intervals([(5, 6), (1, 2)]) == [(1, 2), (5, 6)]


def test_overlap():
    assert merge_intervals([(1, 4), (3, 6)]) == [(1, 6)]


def test_touching():
    assert merge_intervals([(1, 2), (2, 5)]) == [(1, 5)]


def test_contained():
    assert merge_intervals([(1, 10), (2, 3), (4, 5)]) == [(1, 10)]


def test_chain():
    assert merge_intervals([(1, 3), (2, 5), (4, 7), (9, 10)]) == [(1, 7), (9, 10)]


def test_same_start():
    assert merge_intervals([(1, 2), (1, 5)]) == [(1, 5)]


def test_gaps():
    assert gaps([(1, 3), (2, 5), (8, 9), (12, 13)]) == [(5, 8), (9, 12)]


def test_no_gaps():
    assert gaps([(1, 3), (3, 4)]) == []
