from mushroom_permit import allowance, fine, open_day, weekday


def test_weekday():
    assert weekday(20260914) == 0
    assert weekday(20260920) == 6
    assert weekday(20000229) == 1
    assert weekday(19000101) == 0
    assert weekday(20241231) == 1


def test_weekdays_run_on():
    assert [weekday(20260900 + day) for day in range(1, 9)] == [1, 2, 3, 4, 5, 6, 0, 1]


def test_even_days():
    assert open_day(20260916)
    assert not open_day(20260917)


def test_never_on_mondays():
    assert not open_day(20260914)


def test_always_on_sundays():
    assert open_day(20260913)
    assert open_day(20260920)


def test_season():
    assert not open_day(20260612)
    assert open_day(20260616)
    assert open_day(20261030)
    assert not open_day(20261101)
    assert open_day(20280615 + 3)


def test_season_ends_included():
    assert open_day(20310615)
    assert open_day(20271031)


def test_allowance():
    assert allowance("russula", 1, True) == 2000
    assert allowance("cep", 2, True) == 3000
    assert allowance("morel", 3, True) == 0


def test_allowance_of_visitors():
    assert allowance("chanterelle", 1, False) == 400


def test_at_most_four_count():
    assert allowance("cep", 4, True) == 6000
    assert allowance("cep", 7, True) == 6000


def test_no_fine():
    assert fine({"cep": 1500, "russula": 2000}, 1, True, 20260916) == 0


def test_fine_for_each_100_grams_begun():
    assert fine({"cep": 1501}, 1, True, 20260916) == 5
    assert fine({"cep": 1600}, 1, True, 20260916) == 5
    assert fine({"cep": 1601, "morel": 50}, 1, True, 20260916) == 15


def test_fine_on_a_closed_day():
    assert fine({}, 1, True, 20260914) == 80
    assert fine({"cep": 300}, 1, True, 20260914) == 95
