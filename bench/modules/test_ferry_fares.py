import pytest
from ferry_fares import crossing, vehicle_fare


def test_vehicle_by_half_metres():
    assert vehicle_fare(400) == 8 * 95


def test_half_metre_begun_counts():
    assert vehicle_fare(401) == 9 * 95
    assert vehicle_fare(450) == 9 * 95


def test_seven_metres_is_not_long():
    assert vehicle_fare(700) == 1330


def test_long_vehicle():
    assert vehicle_fare(701) == 1425 + 356


def test_foot_passengers():
    assert crossing(2) == 840


def test_child_of_an_adult_is_free():
    assert crossing(2, children=2) == 840


def test_further_children_pay_half():
    assert crossing(1, children=3) == 420 + 420


def test_children_alone():
    assert crossing(0, children=1) == 210


def test_driver_is_included():
    assert crossing(1, length_cm=400) == 760
    assert crossing(3, length_cm=400) == 760 + 840


def test_driver_still_takes_a_child():
    assert crossing(1, children=2, length_cm=400) == 760 + 210


def test_vehicle_without_driver():
    with pytest.raises(ValueError):
        crossing(0, children=1, length_cm=300)


def test_islanders():
    assert crossing(2, islander=True) == 280
    assert crossing(1, length_cm=410, islander=True) == 280


def test_bicycles_cost_islanders_the_same():
    assert crossing(1, bicycles=2) == 720
    assert crossing(1, bicycles=2, islander=True) == 440
