from balanced_brackets import is_balanced, longest_valid


def test_empty():
    assert is_balanced("") is True


def test_nested():
    assert is_balanced("{[()()]}")


def test_with_other_text():
    assert is_balanced("f(a[1], {b: (2)})")


def test_left_open():
    assert not is_balanced("(()")


def test_closed_too_often():
    assert not is_balanced("())")


def test_wrong_kind():
    assert not is_balanced("(]")
    assert not is_balanced("([)]")


def test_longest_simple():
    assert longest_valid("(()") == 2
    assert longest_valid(")()())") == 4


def test_longest_nested():
    assert longest_valid("((()))()") == 8


def test_longest_none():
    assert longest_valid("") == 0
    assert longest_valid(")))(((") == 0


def test_longest_after_break():
    assert longest_valid("())(())") == 4
