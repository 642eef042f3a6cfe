import pytest
from parcel_lockers import Station, fits


def station():
    return Station({1: "M", 2: "S", 3: "S", 4: "L", 101: "S", 102: "M"})


def test_fits_turned():
    assert fits((60, 10, 35), "S")
    assert fits((35, 60, 10), "S")


def test_does_not_fit():
    assert not fits((11, 35, 60), "S")
    assert not fits((1, 1, 61), "L")


def test_smallest_box_lowest_number():
    assert station().store("a", (5, 5, 5), 1) == 2


def test_next_number_then_next_size():
    post = station()
    assert [post.store(code, (5, 5, 5), 1) for code in "abcde"] == [2, 3, 101, 1, 102]


def test_large_parcel():
    assert station().store("a", (40, 40, 10), 1) == 4


def test_too_large():
    assert station().store("a", (41, 41, 10), 1) is None


def test_full():
    post = Station({7: "S"})
    post.store("a", (5, 5, 5), 1)
    assert post.store("b", (5, 5, 5), 1) is None


def test_low_boxes():
    post = station()
    assert post.store("a", (5, 5, 5), 1, low=True) == 101
    assert post.store("b", (5, 5, 5), 1, low=True) == 102
    assert post.store("c", (5, 5, 5), 1, low=True) is None


def test_low_begins_at_hundred():
    assert Station({99: "S", 100: "S"}).store("a", (5, 5, 5), 1, low=True) == 100


def test_code_in_use():
    post = station()
    post.store("a", (5, 5, 5), 1)
    with pytest.raises(ValueError):
        post.store("a", (5, 5, 5), 2)


def test_collect_frees_the_box():
    post = station()
    post.store("a", (5, 5, 5), 1)
    assert post.collect("a", 2) == (2, 0)
    assert post.store("b", (5, 5, 5), 2) == 2


def test_collect_fee():
    post = station()
    post.store("a", (5, 5, 5), 10)
    post.store("b", (5, 5, 5), 10)
    assert post.collect("a", 13) == (2, 0)
    assert post.collect("b", 15) == (3, 140)


def test_collect_unknown():
    with pytest.raises(KeyError):
        station().collect("x", 1)


def test_overdue():
    post = station()
    for code, day in [("a", 5), ("b", 3), ("c", 6)]:
        post.store(code, (5, 5, 5), day)
    assert post.overdue(15) == ["b", "a"]
