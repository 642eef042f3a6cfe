import pytest
from watch_roster import points, rotation, swap, tired

ROSTER = [["Ann", "Bo"], ["Cy", "Di"], ["Ann", "Cy"], ["Di", "Bo"]]


def test_turns():
    assert rotation(["Ann", "Bo", "Cy", "Di"], 3) == [["Ann", "Bo"], ["Cy", "Di"], ["Ann", "Bo"]]


def test_odd_crew():
    assert rotation(["Ann", "Bo", "Cy"], 3) == [["Ann", "Bo"], ["Cy", "Ann"], ["Bo", "Cy"]]


def test_alone():
    assert rotation(["Ann", "Bo"], 3, per_night=1) == [["Ann"], ["Bo"], ["Ann"]]


def test_whole_crew_every_night():
    assert rotation(["Ann", "Bo"], 2) == [["Ann", "Bo"], ["Ann", "Bo"]]


def test_same_two_do_not_meet_again_at_once():
    assert rotation(["Ann", "Ann", "Bo"], 2, per_night=1) == [["Ann"], ["Bo"]]


def test_no_nights():
    assert rotation(["Ann"], 0) == []


def test_swap():
    assert swap(ROSTER, "Bo", 0, "Cy", 1) == [["Ann", "Cy"], ["Bo", "Di"], ["Ann", "Cy"], ["Di", "Bo"]]


def test_swap_leaves_the_old_roster():
    swap(ROSTER, "Bo", 0, "Cy", 1)
    assert ROSTER[0] == ["Ann", "Bo"]


def test_swap_leader_within_a_night():
    assert swap([["Ann", "Bo"]], "Ann", 0, "Bo", 0) == [["Bo", "Ann"]]


def test_swap_needs_the_watch():
    with pytest.raises(ValueError, match="have that watch"):
        swap(ROSTER, "Cy", 0, "Di", 1)
    with pytest.raises(ValueError, match="have that watch"):
        swap(ROSTER, "Bo", 0, "Ann", 1)


def test_swap_never_twice_a_night():
    with pytest.raises(ValueError, match="twice"):
        swap(ROSTER, "Bo", 0, "Ann", 2)
    with pytest.raises(ValueError, match="twice"):
        swap(ROSTER, "Ann", 0, "Cy", 2)


def test_tired():
    assert tired(ROSTER, "Cy") == [2]
    assert tired(ROSTER, "Ann") == [2]
    assert tired(ROSTER, "Bo") == []
    assert tired(ROSTER, "Di") == [3]


def test_points():
    assert points(ROSTER) == {"Ann": 6, "Bo": 4, "Cy": 5, "Di": 5}


def test_points_on_feasts():
    assert points(ROSTER[:2], feasts=[1]) == {"Ann": 3, "Bo": 2, "Cy": 6, "Di": 4}
