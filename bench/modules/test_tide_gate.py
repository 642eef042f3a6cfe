from tide_gate import next_passage, openings


def test_one_window():
    assert openings([(600, 370)]) == [(570, 630)]


def test_at_the_sill_it_stays_shut():
    assert openings([(600, 310)]) == []
    assert openings([(600, 312)]) == [(599, 601)]


def test_odd_centimetres():
    assert openings([(600, 315)]) == [(598, 602)]


def test_at_most_two_and_a_half_hours():
    assert openings([(600, 800)]) == [(450, 750)]


def test_order_of_tides():
    assert openings([(1300, 330), (600, 330)]) == [(590, 610), (1290, 1310)]


def test_low_tide_in_between():
    assert openings([(600, 330), (900, 300), (1300, 330)]) == [(590, 610), (1290, 1310)]


def test_touching_windows():
    assert openings([(600, 410), (700, 410)]) == [(550, 750)]


def test_windows_apart():
    assert openings([(600, 410), (701, 410)]) == [(550, 650), (651, 751)]


def test_other_sill():
    assert openings([(600, 370)], sill=350) == [(590, 610)]


def test_waits_for_the_opening():
    assert next_passage([(600, 370)], 500, 100) == 570


def test_passes_at_once():
    assert next_passage([(600, 370)], 590, 100) == 590


def test_ten_minutes_before_closing():
    assert next_passage([(600, 370)], 620, 100) == 620
    assert next_passage([(600, 370)], 621, 100) is None


def test_next_tide():
    assert next_passage([(600, 370), (1340, 350)], 625, 100) == 1320


def test_deep_boat():
    assert next_passage([(600, 384)], 500, 141) == 576
    assert next_passage([(600, 384)], 500, 140) == 563


def test_window_too_short():
    assert next_passage([(600, 318)], 500, 100) is None
    assert next_passage([(600, 320)], 500, 100) == 595
