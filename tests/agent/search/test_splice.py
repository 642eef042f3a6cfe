from __future__ import annotations

import pytest

from agent.search.splice import block_splices, first_statement, splices

TEXT = """\
def area(w, h):
    total = w + h
    call(
        w,
        h,
    )
    return total
"""


def shapes(text: str, place: str, continuation: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for splice in splices(text, text.index(place), continuation):
        found.setdefault(splice.shape, []).append(splice.text)
    return found


def test_the_rest_of_the_line():
    assert "    total = w * h\n    call(" in shapes(TEXT, " + h", " * h")["line"][0]


def test_an_empty_continuation_ends_the_line_there():
    assert "    total = w\n" in shapes(TEXT, " + h", "")["line"][0]


def test_a_new_line_before_only_where_the_line_begins():
    at_start = shapes(TEXT, "return total", "total *= 2")
    assert "    total *= 2\n    return total\n" in at_start["insert"][0]
    assert "insert" not in shapes(TEXT, " + h", " * h")


def test_a_statement_over_several_lines_is_replaced_as_a_whole():
    replaced = shapes(TEXT, "call(", "call(h, w)")["statement"]
    assert "    call(h, w)\n    return total\n" in replaced[0]


@pytest.mark.parametrize(
    ("line", "place", "continuation", "wanted"),
    [
        ("if a < b and c:", " < b", " <= limit:", "if a <= b and c:"),
        ("x = n - 1", "n - 1", "self.n + 2", "x = self.n - 1"),
        ("return a", " a", " not a", "return not a"),
        ("f(a, b, c)", "a, b", "b, a)", "f(b, b, c)"),
    ],
)
def test_a_branch_that_meets_the_old_rest_again(line: str, place: str, continuation: str, wanted: str):
    found = [splice.text for splice in splices(line, line.index(place), continuation)]
    assert wanted in found


def test_a_block_is_put_before_or_instead_of_a_line_or_after_its_end():
    text = "def f(x):\n    y = 1\n    return y\n"
    block = "    if x:\n        return 0\n    z = 1"

    before, instead = (splice.text for splice in block_splices(text, text.index("    return y"), block))
    assert before == "def f(x):\n    y = 1\n    if x:\n        return 0\n    return y\n"
    assert instead == "def f(x):\n    y = 1\n    if x:\n        return 0\n"

    (after,) = block_splices(text, len(text) - 1, "\n    print(y)")
    assert after.text == "def f(x):\n    y = 1\n    return y\n    print(y)\n"


def test_a_continuation_is_cut_after_its_first_statement():
    assert first_statement("x = 1\ny = 2") == "x = 1"
    assert first_statement("if a:\n    b\n    c\nd") == "if a:\n    b\n    c"
    assert first_statement("\n    return 1\n\nother") == "\n    return 1"
