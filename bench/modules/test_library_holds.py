from library_holds import assign, priority, queue


def hold(reader, kind="adult", since=100, **more):
    return {"reader": reader, "kind": kind, "since": since, **more}


def test_weights():
    assert priority(hold("a", "staff"), 100) == 0
    assert priority(hold("a", "child"), 100) == 3
    assert priority(hold("a", "adult"), 100) == 1


def test_unknown_kind_is_an_adult():
    assert priority(hold("a", "visitor"), 100) == 1


def test_full_weeks():
    assert priority(hold("a"), 106) == 1
    assert priority(hold("a"), 107) == 2
    assert priority(hold("a"), 121) == 4


def test_course():
    assert priority(hold("a", course=True), 107) == 7


def test_overdue_counts_half_weeks_only():
    assert priority(hold("a", "child", course=True, overdue=1), 121) == 1
    assert priority(hold("a", "child", overdue=0), 121) == 6


def test_queue_by_priority():
    assert queue([hold("ann"), hold("bob", "child"), hold("cy", course=True)], 100) == ["cy", "bob", "ann"]


def test_queue_equal_by_day_then_name():
    holds = [hold("zoe", since=99), hold("bob", since=100), hold("ann", since=100)]
    assert queue(holds, 101) == ["zoe", "ann", "bob"]


def test_suspended():
    holds = [hold("ann", suspended_until=105), hold("bob")]
    assert queue(holds, 104) == ["bob"]
    assert queue(holds, 105) == ["ann", "bob"]


def test_assign_in_order():
    holds = [hold("ann"), hold("bob", "child")]
    assert assign(["c1", "c2", "c3"], holds, 100) == {"c1": "bob", "c2": "ann"}


def test_reference_copy_needs_staff():
    holds = [hold("ann"), hold("sue", "staff")]
    assert assign(["REF-1", "c2"], holds, 100) == {"REF-1": "sue", "c2": "ann"}


def test_reference_copy_without_staff():
    assert assign(["REF-1", "c2"], [hold("ann")], 100) == {"c2": "ann"}


def test_staff_takes_ordinary_copies_too():
    assert assign(["c1"], [hold("sue", "staff")], 100) == {"c1": "sue"}
