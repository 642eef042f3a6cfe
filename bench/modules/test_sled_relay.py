from sled_relay import clock, leg_time, standings


def test_plain_leg():
    assert leg_time(100, 1900, 6, 6) == 1800


def test_missed_gates():
    assert leg_time(0, 1000, 6, 6, missed_gates=1) == 1045
    assert leg_time(0, 1000, 6, 6, missed_gates=2) == 1090
    assert leg_time(0, 1000, 6, 6, missed_gates=4) == 1270


def test_carried_dogs():
    assert leg_time(0, 1000, 6, 5) == 1120
    assert leg_time(0, 1000, 6, 4) == 1240


def test_too_many_carried():
    assert leg_time(0, 1000, 6, 3) is None


def test_more_dogs_home():
    assert leg_time(0, 1000, 6, 7) is None


def test_standings():
    assert standings({"Owl": [300, 320], "Elk": [310, 300]}) == [(1, "Elk", 610), (2, "Owl", 620)]


def test_slowest_of_four_is_left_out():
    assert standings({"Owl": [1, 2, 3], "Elk": [5, 1, 1, 1]}) == [(1, "Elk", 3), (2, "Owl", 6)]


def test_shared_place():
    assert standings({"Owl": [10], "Elk": [10], "Fox": [11]}) == [
        (1, "Elk", 10),
        (1, "Owl", 10),
        (3, "Fox", 11),
    ]


def test_a_leg_that_does_not_count():
    teams = {"Owl": [None, 1, 1], "Elk": [500, 500, 500], "Fox": [None, None, 1]}
    assert standings(teams) == [(1, "Elk", 1500), (2, "Owl", None), (3, "Fox", None)]


def test_out_teams_share_too():
    assert standings({"Owl": [None, 5], "Elk": [9, None]}) == [(1, "Elk", None), (1, "Owl", None)]


def test_no_teams():
    assert standings({}) == []


def test_clock():
    assert clock(123) == "2:03"
    assert clock(3723) == "1:02:03"
    assert clock(59) == "0:59"
    assert clock(3600) == "1:00:00"


def test_clock_out():
    assert clock(None) == "out"
