from night_pay import night_minutes, overlap, shift_pay


def test_overlap():
    assert overlap(10, 20, 15, 30) == 5
    assert overlap(15, 30, 10, 20) == 5


def test_no_overlap():
    assert overlap(0, 10, 20, 30) == 0
    assert overlap(20, 30, 0, 10) == 0


def test_night_in_the_evening():
    assert night_minutes(20 * 60, 23 * 60) == 60


def test_night_in_the_morning():
    assert night_minutes(5 * 60, 8 * 60) == 30


def test_night_past_midnight():
    assert night_minutes(23 * 60, 24 * 60 + 400) == 60 + 330


def test_day_shift():
    assert shift_pay(9 * 60, 13 * 60, 1200) == 4800


def test_six_hours_have_no_break():
    assert shift_pay(9 * 60, 15 * 60, 1200) == 7200


def test_break_is_unpaid():
    assert shift_pay(9 * 60, 16 * 60, 1200) == 7800


def test_evening_has_night_minutes():
    assert shift_pay(20 * 60, 23 * 60, 1200) == 2400 + 1500


def test_long_night_counts_in_full():
    assert shift_pay(22 * 60, 6 * 60, 1200) == 450 * 25


def test_break_from_night_where_there_is_no_day():
    assert shift_pay(22 * 60, 5 * 60, 1200) == 390 * 25


def test_exactly_four_hours_of_night():
    assert shift_pay(20 * 60, 2 * 60, 1200) == 120 * 20 + 240 * 25


def test_end_at_start_is_a_whole_day():
    assert shift_pay(12 * 60, 12 * 60, 240) == 1410 * 5


def test_rounds_up():
    assert shift_pay(9 * 60, 9 * 60 + 1, 1201) == 21
