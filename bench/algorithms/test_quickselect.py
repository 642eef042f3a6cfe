import pytest
from quickselect import quickselect


def test_minimum():
    assert quickselect([3, 1, 2], 0) == 1


def test_maximum():
    assert quickselect([3, 1, 2, 9, 4], 4) == 9


def test_median():
    assert quickselect([7, 1, 5, 3, 9], 2) == 5


def test_duplicates():
    assert quickselect([2, 2, 1, 2, 3], 1) == 2
    assert quickselect([2, 2, 1, 2, 3], 3) == 2
    assert quickselect([2, 2, 1, 2, 3], 4) == 3


def test_every_k():
    values = [9, 4, 7, 1, 8, 2, 6, 3, 5, 0]
    assert [quickselect(values, k) for k in range(10)] == sorted(values)


def test_left_as_it_was():
    values = [3, 1, 2]
    quickselect(values, 1)
    assert values == [3, 1, 2]


def test_out_of_range():
    with pytest.raises(IndexError):
        quickselect([1, 2], 2)


def test_negative():
    with pytest.raises(IndexError):
        quickselect([1, 2], -1)
