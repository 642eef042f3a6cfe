import pytest
from ski_pass import Pass, percent_for, price


def test_percent_by_age():
    assert [percent_for(a) for a in (0, 5, 6, 14, 15, 18, 19, 64, 65, 90)] == [
        0, 0, 50, 50, 75, 75, 100, 100, 90, 90,
    ]  # fmt: skip


def test_no_such_age():
    with pytest.raises(ValueError):
        percent_for(200)


def test_price():
    assert price(1, 30) == 46
    assert price(6, 30) == 216


def test_price_of_long_passes():
    assert price(7, 30) == 246
    assert price(10, 30) == 336


def test_price_drops_cents():
    assert price(1, 17) == 34
    assert price(1, 70) == 41


def test_card():
    assert price(3, 30, card=True) == 121
    assert price(2, 30, card=True) == 88


def test_card_for_the_young():
    assert price(4, 16, card=True) == 115
    assert price(4, 10, card=True) == 80


def test_scan_counts_a_day_once():
    ski = Pass(2)
    assert ski.scan(10) and ski.scan(10)
    assert ski.used == [10]


def test_used_up():
    ski = Pass(2)
    assert ski.scan(10) and ski.scan(11)
    assert not ski.scan(12)
    assert ski.scan(11)


def test_window():
    ski = Pass(3)
    ski.scan(10)
    assert ski.valid_on(15)
    assert not ski.valid_on(16)


def test_rejected_scan_is_not_used():
    ski = Pass(3)
    ski.scan(10)
    assert not ski.scan(16)
    assert ski.used == [10]


def test_left():
    ski = Pass(3)
    assert ski.left(50) == 3
    ski.scan(10)
    assert ski.left(10) == 2
    assert ski.left(14) == 2
    assert ski.left(15) == 1
    assert ski.left(17) == 0


def test_left_on_the_last_day_of_the_window():
    ski = Pass(3)
    ski.scan(10)
    ski.scan(15)
    assert ski.left(15) == 0
