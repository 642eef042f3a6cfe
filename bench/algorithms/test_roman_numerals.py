import pytest
from roman_numerals import from_roman, to_roman


def test_single_signs():
    assert [to_roman(n) for n in (1, 5, 10, 50, 100, 500, 1000)] == list("IVXLCDM")


def test_subtractive():
    assert to_roman(4) == "IV"
    assert to_roman(944) == "CMXLIV"


def test_long():
    assert to_roman(3888) == "MMMDCCCLXXXVIII"


def test_bounds():
    assert to_roman(3999) == "MMMCMXCIX"
    for number in (0, -1, 4000):
        with pytest.raises(ValueError):
            to_roman(number)


def test_from_additive():
    assert from_roman("MMXXVI") == 2026


def test_from_subtractive():
    assert from_roman("MCMXCIV") == 1994


def test_from_empty():
    assert from_roman("") == 0


def test_from_repeated():
    assert from_roman("III") == 3
    assert from_roman("XXX") == 30


def test_round_trip():
    assert all(from_roman(to_roman(n)) == n for n in range(1, 4000, 7))
