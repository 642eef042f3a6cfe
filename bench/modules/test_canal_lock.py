import pytest
from canal_lock import Lock, Refused


def test_opens_lower_gate_at_low_water():
    lock = Lock(30)
    lock.open("lower")
    assert lock.open_gate == "lower"


def test_upper_gate_needs_high_water():
    lock = Lock(30)
    with pytest.raises(Refused):
        lock.open("upper")
    lock.fill(30)
    lock.open("upper")
    assert lock.open_gate == "upper"


def test_never_both_gates():
    lock = Lock(0)
    lock.open("upper")
    with pytest.raises(Refused):
        lock.open("lower")


def test_closed_gate_lets_the_other_open():
    lock = Lock(30)
    lock.open("lower")
    lock.close()
    lock.fill(30)
    lock.open("upper")
    assert lock.open_gate == "upper"


def test_no_filling_with_open_gate():
    lock = Lock(30)
    lock.open("lower")
    with pytest.raises(Refused):
        lock.fill(5)


def test_fill_stops_at_lift():
    lock = Lock(30, level=20)
    assert lock.fill(25) == 10
    assert lock.level == 30


def test_fill_stops_at_bottom():
    lock = Lock(30, level=20)
    assert lock.fill(-50) == -20
    assert lock.level == 0


def test_boats_slow_the_water():
    lock = Lock(30)
    lock.open("lower")
    lock.enter("Ada", "lower")
    lock.close()
    assert lock.fill(30) == 12
    assert lock.fill(-20) == -12


def test_two_boats_are_the_limit():
    lock = Lock(30)
    lock.open("lower")
    lock.enter("Ada", "lower")
    lock.enter("Bo", "lower")
    with pytest.raises(Refused):
        lock.enter("Cy", "lower")


def test_entering_needs_that_gate():
    lock = Lock(30)
    lock.open("lower")
    with pytest.raises(Refused):
        lock.enter("Ada", "upper")


def test_first_in_first_out():
    lock = Lock(0)
    lock.open("upper")
    lock.enter("Ada", "upper")
    lock.enter("Bo", "upper")
    assert lock.leave("upper") == "Ada"
    assert lock.leave("upper") == "Bo"
    with pytest.raises(Refused):
        lock.leave("upper")


def test_leaving_needs_that_gate():
    lock = Lock(0)
    lock.open("upper")
    lock.enter("Ada", "upper")
    with pytest.raises(Refused):
        lock.leave("lower")
