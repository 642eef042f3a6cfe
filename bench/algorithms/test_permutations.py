from permutations import next_permutation, permutations


def test_empty():
    assert permutations([]) == [[]]


def test_single():
    assert permutations([7]) == [[7]]


def test_three_in_order():
    assert permutations([1, 2, 3]) == [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]]


def test_count():
    assert len(permutations([1, 2, 3, 4, 5])) == 120


def test_next_simple():
    values = [1, 2, 3]
    assert next_permutation(values) is True
    assert values == [1, 3, 2]


def test_next_with_descending_tail():
    values = [1, 3, 2]
    assert next_permutation(values)
    assert values == [2, 1, 3]


def test_next_with_equals():
    values = [1, 5, 1]
    assert next_permutation(values)
    assert values == [5, 1, 1]


def test_last_wraps():
    values = [3, 2, 1]
    assert next_permutation(values) is False
    assert values == [1, 2, 3]


def test_walks_through_all():
    values = [1, 2, 3, 4]
    seen = [list(values)]
    while next_permutation(values):
        seen.append(list(values))
        assert len(seen) <= 24
    assert seen == permutations([1, 2, 3, 4])
