import pytest
from meter_readings import bill, consumption, leaks, monthly


def test_consumption():
    assert consumption(1200, 1234) == 34
    assert consumption(1200, 1200) == 0


def test_meter_turns():
    assert consumption(9990, 5) == 15


def test_misreading():
    with pytest.raises(ValueError, match="cannot be"):
        consumption(1234, 1200)
    with pytest.raises(ValueError):
        consumption(5000, 0)


def test_just_a_turn():
    assert consumption(5001, 0) == 4999


def test_monthly():
    assert monthly([(1, 100), (2, 110), (3, 125)]) == {2: 10, 3: 15}


def test_monthly_shares():
    assert monthly([(1, 100), (4, 112)]) == {2: 4, 3: 4, 4: 4}


def test_monthly_rest_to_the_first():
    assert monthly([(1, 100), (4, 111)]) == {2: 5, 3: 3, 4: 3}


def test_monthly_of_one_reading():
    assert monthly([(1, 100)]) == {}


def test_leak():
    assert leaks({1: 4, 2: 6, 3: 15, 4: 20}) == [3]
    assert leaks({1: 4, 2: 6, 3: 14}) == []


def test_leak_needs_two_months_before():
    assert leaks({1: 4, 2: 60}) == []
    assert leaks({1: 4, 3: 60}) == []


def test_little_water_is_no_leak():
    assert leaks({1: 1, 2: 1, 3: 5}) == []
    assert leaks({1: 1, 2: 1, 3: 6}) == [3]


def test_leak_factor():
    assert leaks({1: 4, 2: 6, 3: 10}, factor=2) == [3]


def test_bill():
    assert bill(8, 2) == 880
    assert bill(10, 2) == 880 + 370


def test_bill_has_a_top():
    assert bill(100, 1) == 9000
    assert bill(1, 0) == 185
