from choir_rows import place, rows_needed, soloists

CHOIR = [
    ("Ida", "soprano", 160),
    ("Ben", "bass", 190),
    ("Tom", "tenor", 178),
    ("Amy", "alto", 165),
    ("Sue", "soprano", 172),
    ("Al", "bass", 172),
]


def test_rows_exact():
    assert rows_needed(8, 4) == 2


def test_rows_with_rest():
    assert rows_needed(10, 4) == 3


def test_no_row_of_one():
    assert rows_needed(9, 4) == 2


def test_a_single_singer_has_a_row():
    assert rows_needed(1, 4) == 1


def test_nobody():
    assert place([], 4) == []


def test_short_in_front():
    assert place(CHOIR, 3) == [["Ida", "Amy", "Al"], ["Sue", "Tom", "Ben"]]


def test_last_row_takes_one_more():
    assert place(CHOIR, 5) == [["Sue", "Ida", "Amy", "Tom", "Ben", "Al"]]


def test_short_last_row():
    assert place(CHOIR, 4) == [["Sue", "Ida", "Amy", "Al"], ["Tom", "Ben"]]


def test_same_height_by_name():
    twins = [("Zed", "bass", 180), ("Abe", "bass", 180), ("Max", "bass", 181), ("Lee", "bass", 181)]
    assert place(twins, 2) == [["Abe", "Zed"], ["Lee", "Max"]]


def test_soloists_are_the_tallest():
    assert soloists(CHOIR, ["soprano", "bass"]) == ["Sue", "Ben"]


def test_nobody_sings_two_solos():
    assert soloists(CHOIR, ["bass", "bass"]) == ["Ben", "Al"]


def test_no_soloist_left():
    assert soloists(CHOIR, ["tenor", "tenor", "alto"]) == ["Tom", None, "Amy"]
