from kiln_program import cost, minutes_of, problems

BISQUE = [(60, 140, 30), (100, 600, 0), (150, 950, 20), (0, 650, 0), (90, 140, 0)]


def test_climb():
    assert minutes_of([(60, 140, 0)]) == 120


def test_hold():
    assert minutes_of([(60, 140, 30)]) == 150


def test_minutes_begun_count():
    assert minutes_of([(70, 140, 0)]) == 103


def test_fast():
    assert minutes_of([(0, 620, 0)]) == 60
    assert minutes_of([(0, 620, 0), (0, 20, 0)]) == 260


def test_other_start():
    assert minutes_of([(60, 140, 0)], start=80) == 60


def test_fall_with_a_rate():
    assert minutes_of([(60, 80, 0)], start=140) == 60


def test_whole_program():
    assert minutes_of(BISQUE) == 150 + 276 + 160 + 100 + 340


def test_good_program():
    assert problems(BISQUE) == []
    assert problems([]) == []


def test_too_hot():
    assert problems([(100, 1281, 0), (100, 20, 0)]) == ["segment 1: 1281 is too hot"]
    assert problems([(100, 1280, 0), (100, 20, 0)]) == []


def test_quartz_on_the_way_up():
    assert problems([(100, 500, 0), (101, 573, 0), (100, 200, 0)]) == ["segment 2: too fast through 573"]
    assert problems([(0, 572, 0), (100, 200, 0)]) == []


def test_quartz_on_the_way_down():
    assert problems([(100, 573, 0), (100, 180, 0)]) == []
    assert problems([(100, 580, 0), (0, 180, 0)]) == ["segment 2: too fast through 573"]


def test_opened_hot():
    assert problems([(100, 201, 0)]) == ["the kiln is opened hot"]
    assert problems([(100, 200, 0)]) == []


def test_cost_of_climb():
    assert cost([(60, 140, 0)], 30) == 420


def test_cost_of_holds():
    assert cost([(60, 140, 60)], 30) == 510
    assert cost([(290, 600, 60)], 30) == 420 + 90
    assert cost([(0, 620, 60)], 30) == 420


def test_falling_costs_nothing():
    assert cost([(60, 140, 0), (60, 80, 0), (60, 140, 0)], 30) == 630
