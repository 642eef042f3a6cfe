from toll_bridge import charge, day_report, month_bill


def test_one_crossing():
    assert charge("car", [600]) == 240
    assert charge("motorcycle", [600]) == 110


def test_no_crossing():
    assert charge("van", []) == 0


def test_soon_back_is_free():
    assert charge("car", [600, 640]) == 240
    assert charge("car", [600, 641]) == 480


def test_free_time_runs_from_the_charged_one():
    assert charge("car", [600, 630, 660]) == 480


def test_any_order():
    assert charge("car", [641, 600]) == 480


def test_morning():
    assert charge("car", [390]) == 288
    assert charge("car", [389]) == 240
    assert charge("car", [539]) == 288
    assert charge("car", [540]) == 240


def test_at_most_three_tolls():
    assert charge("car", [0, 100, 200, 300]) == 720
    assert charge("car", [400, 450, 500]) == 720


def test_lorry_axles():
    assert charge("lorry", [600], axles=3) == 720
    assert charge("lorry", [600], axles=5) == 1080
    assert isinstance(charge("lorry", [600], axles=5), int)


def test_axles_of_others_do_not_count():
    assert charge("van", [600], axles=5) == 390


def test_report():
    crossings = [(600, "B", "car"), (610, "A", "van"), (700, "B", "car")]
    assert day_report(crossings) == {"A": 390, "B": 480}
    assert list(day_report(crossings)) == ["A", "B"]


def test_report_dearer_kind():
    assert day_report([(600, "A", "van"), (700, "A", "car")]) == {"A": 780}
    assert day_report([(600, "A", "car"), (700, "A", "van")]) == {"A": 780}


def test_month():
    assert month_bill([240, 0, 480]) == 720


def test_commuters():
    assert month_bill([100] * 15, commuter=True) == 1200
    assert month_bill([0, 0, *[100] * 13], commuter=True) == 1200
    assert month_bill([100] * 15) == 1500
