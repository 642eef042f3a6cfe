import pytest
from greenhouse_vents import Vents


def opened(percent):
    vents = Vents()
    vents.opening = percent
    return vents


def test_starts_shut():
    assert Vents().opening == 0


def test_bad_limits():
    with pytest.raises(ValueError):
        Vents(warm=20, cool=20)


def test_opens_a_step():
    vents = Vents()
    assert vents.tick(0, 27) == 10
    assert vents.tick(1, 27) == 20


def test_stays_in_between():
    vents = opened(40)
    assert vents.tick(0, 26) == 40
    assert vents.tick(1, 22) == 40


def test_closes_a_step():
    assert opened(40).tick(0, 21) == 30


def test_three_steps_when_hot():
    assert opened(20).tick(0, 32) == 50
    assert opened(20).tick(0, 31) == 30


def test_ends():
    assert opened(90).tick(0, 40) == 100
    assert opened(0).tick(0, 10) == 0


def test_wind_limits():
    vents = Vents()
    assert [vents.limit(w) for w in (0, 30, 31, 50, 51, 70, 71)] == [100, 100, 50, 50, 20, 20, 0]


def test_wind_closes():
    assert opened(80).tick(0, 24, wind=45) == 50


def test_rain_is_like_wind():
    assert opened(80).tick(0, 24, wind=10, rain=True) == 80
    assert opened(80).tick(0, 24, wind=11, rain=True) == 50


def test_storm_locks():
    vents = opened(50)
    assert vents.tick(100, 30, wind=80) == 0
    assert vents.tick(119, 30) == 0
    assert vents.tick(120, 30) == 10


def test_storm_on_shut_vents_locks_nothing():
    vents = Vents()
    vents.tick(100, 30, wind=80)
    assert vents.tick(101, 30) == 10


def test_log_of_moves():
    vents = Vents()
    vents.tick(5, 27)
    vents.tick(6, 24)
    vents.tick(7, 33)
    assert vents.log == [(5, 0, 10), (7, 10, 40)]
