import pytest
from plot_labels import check_letter, label, parse


def test_check_letter():
    assert check_letter("N", 0, "A", 0) == "H"
    assert check_letter("N", 1, "A", 0) == "L"
    assert check_letter("N", 0, "A", 1) == "N"


def test_check_letter_of_sections():
    assert [check_letter(s, 0, "A", 0) for s in "NESW"] == ["H", "R", "F", "L"]


def test_check_letter_of_side():
    assert check_letter("N", 0, "B", 0) == "V"


def test_label():
    assert label("N", 7, "A", 3) == "N-07A/3-X"
    assert label("S", 12, "B", 14) == "S-12B/14-H"


def test_side_of_high_rows():
    assert label("E", 51, "B", 2).startswith("E-51A/2-")
    assert label("E", 50, "B", 2).startswith("E-50B/2-")


def test_high_rows_check_the_side_shown():
    assert label("E", 51, "B", 2) == label("E", 51, "A", 2)


def test_parse_is_the_inverse():
    for parts in [("N", 7, "A", 3), ("W", 41, "B", 120), ("S", 51, "A", 1)]:
        assert parse(label(*parts)) == parts


def test_parse_is_lenient():
    assert parse(" n-07a / 3-x ") == ("N", 7, "A", 3)


def test_parse_wrong_check():
    with pytest.raises(ValueError, match="check"):
        parse("N-07A/3-B")


def test_parse_unknown_section():
    with pytest.raises(ValueError, match="section"):
        parse("Q-07A/3-X")
    with pytest.raises(ValueError, match="section"):
        parse("N")


@pytest.mark.parametrize("text", ["N-07C/3-X", "N-A/3-X", "N-07A-X", "N-07A/x-X", "N-/3-X"])
def test_parse_not_a_label(text):
    with pytest.raises(ValueError, match="not a label"):
        parse(text)
