import pytest
from shelfmarks import leaves, short, sort_key


def in_order(*marks):
    return sorted(marks, key=sort_key)


def test_kinds():
    assert in_order("Map 1", "Pr 1", "Ms. 1") == ["Ms. 1", "Pr 1", "Map 1"]


def test_numbers_are_numbers():
    assert in_order("Ms. 10", "Ms. 9") == ["Ms. 9", "Ms. 10"]


def test_letters():
    assert in_order("Ms. 9b", "Ms. 10", "Ms. 9") == ["Ms. 9", "Ms. 9b", "Ms. 10"]


def test_leaves_in_order():
    assert in_order("Ms. 9 fol. 3v", "Ms. 9 fol. 10", "Ms. 9 fol. 3", "Ms. 9") == [
        "Ms. 9",
        "Ms. 9 fol. 3",
        "Ms. 9 fol. 3v",
        "Ms. 9 fol. 10",
    ]


def test_front_may_be_said():
    assert sort_key("Ms. 9 fol. 3r") == sort_key("Ms 9 fol. 3")


def test_blanks_around():
    assert sort_key(" Pr. 4 ") == (1, 4, "", 0, 0)


@pytest.mark.parametrize("text", ["", "Ms.", "Xx 4", "Ms. 9B", "Ms. 9 fol."])
def test_no_shelfmark(text):
    with pytest.raises(ValueError, match="not a shelfmark"):
        sort_key(text)


def test_short():
    assert short(["Map 9", "Map 4", "Map 3", "Map 5"]) == "Map 3-5, Map 9"


def test_short_drops_doubles():
    assert short(["Map 9", "Map 9"]) == "Map 9"


def test_short_keeps_kinds_apart():
    assert short(["Pr 2", "Map 3", "Pr 1"]) == "Pr 1-2, Map 3"


def test_short_leaves_letters_alone():
    assert short(["Ms. 1", "Ms. 2a", "Ms. 3"]) == "Ms. 1, Ms. 2a, Ms. 3"
    assert short(["Ms. 1 fol. 2", "Ms. 2"]) == "Ms. 1 fol. 2, Ms. 2"


def test_leaves():
    assert leaves("Ms. 9 fol. 3", "Ms. 9 fol. 3") == 1
    assert leaves("Ms. 9 fol. 3", "Ms. 9 fol. 3v") == 2
    assert leaves("Ms. 9 fol. 3v", "Ms. 9 fol. 5r") == 4


def test_no_range():
    for first, last in [
        ("Ms. 9 fol. 3", "Ms. 9a fol. 4"),
        ("Ms. 9 fol. 4", "Ms. 9 fol. 3"),
        ("Pr 1", "Pr 1"),
    ]:
        with pytest.raises(ValueError, match="no range"):
            leaves(first, last)
