import pytest
from fog_signal import parse, same_signal, sounding


def test_parse():
    assert parse("2L1S/30") == ("LLS", 30)


def test_parse_without_numbers():
    assert parse("LSL/25") == ("LSL", 25)


def test_parse_many():
    assert parse("12S/60") == ("S" * 12, 60)


@pytest.mark.parametrize("code", ["", "2L", "/30", "L/", "L/x"])
def test_parse_no_signal(code):
    with pytest.raises(ValueError, match="not a signal"):
        parse(code)


def test_parse_unknown_blast():
    with pytest.raises(ValueError, match="unknown"):
        parse("2X/30")


def test_parse_dangling_number():
    with pytest.raises(ValueError, match="number"):
        parse("L2/30")


def test_short_blasts():
    assert sounding("3S/10") == "#.#.#....."


def test_long_blasts():
    assert sounding("2L/15") == "####..####....."


def test_mixed():
    assert sounding("SLS/15") == "#..####..#....."


def test_period_just_enough():
    assert sounding("2S/5") == "#.#.."


def test_period_too_short():
    with pytest.raises(ValueError, match="short"):
        sounding("2S/4")


def test_same_signal_rotated():
    assert same_signal("S2S/8", "3S/8")
    assert not same_signal("3S/8", "2S/8")


def test_other_period_is_another_signal():
    assert not same_signal("S/5", "S/6")
