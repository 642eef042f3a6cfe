from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.match import Ambiguous, Found, Missed, apply, find
from tools.nearest import nearest

LINE = st.text(alphabet="ab ()=:\t", max_size=8)
TEXT = st.lists(LINE, min_size=1, max_size=12).map("\n".join)
WORDS = st.sampled_from(["if x:", "y = 1", "return z", "else:", "call(a, b)", "w = [", "]"])
INDENT = st.sampled_from(["", "    ", "        "])
BLOCK = st.lists(st.tuples(INDENT, WORDS).map("".join), min_size=1, max_size=8)


def edited(text: str, old: str, new: str) -> str:
    outcome = find(text, old, new)
    assert isinstance(outcome, Found), outcome
    return apply(text, outcome.places)


@given(TEXT, TEXT, TEXT, TEXT)
def test_a_unique_exact_piece_is_replaced_and_the_way_back_restores_the_text(
    before: str, left: str, right: str, after: str
) -> None:
    old = f"{left}§{right}"
    text = before + old + after

    changed = edited(text, old, "<new>")

    assert changed == f"{before}<new>{after}"
    assert edited(changed, "<new>", old) == text


@given(st.lists(TEXT, min_size=3, max_size=5), st.text(alphabet="ab =\n", min_size=1, max_size=4))
def test_what_stands_more_than_once_is_refused_unless_all_are_meant(pieces: list[str], old: str) -> None:
    text = old.join(pieces)

    assert isinstance(find(text, old, "<new>"), Ambiguous)

    everywhere = find(text, old, "<new>", replace_all=True)
    assert isinstance(everywhere, Found)
    assert apply(text, everywhere.places) == text.replace(old, "<new>")


def test_overlapping_places_are_two_places() -> None:
    assert find("(aaa)", "aa", "b") == Ambiguous((1, 1), "exact")


@given(BLOCK, BLOCK, BLOCK, BLOCK, st.sampled_from(["shift", "tabs", "trailing"]))
def test_a_tolerant_match_changes_no_line_outside_its_region(
    before: list[str], region: list[str], after: list[str], new: list[str], how: str
) -> None:
    text = "\n".join([*before, *region, *after])
    written = [_disturb(line, how) for line in region]
    old = "\n".join(written)

    outcome = find(text, old, "\n".join(new))

    if not isinstance(outcome, Found):
        return
    (place,) = outcome.places
    changed = apply(text, outcome.places)
    assert changed.startswith(text[: place.start])
    assert changed.endswith(text[place.end :])
    if place.how == "white space":
        lines = text.split("\n")
        first, count = text.count("\n", 0, place.start), len(region)
        assert [line.strip() for line in lines[first : first + count]] == [line.strip() for line in written]
        result = changed.split("\n")
        assert result[:first] == lines[:first]
        assert result[len(result) - (len(lines) - first - count) :] == lines[first + count :]


@given(BLOCK, st.sampled_from(["shift", "tabs", "trailing"]))
def test_a_disturbed_block_that_is_all_there_is_comes_back_as_the_file_has_it(
    region: list[str], how: str
) -> None:
    text = "\n".join(region)
    old = "\n".join(_disturb(line, how) for line in region)
    outcome = find(text, old, old + "\nend()")

    if isinstance(outcome, Found):
        assert (
            apply(text, outcome.places).split("\n")[: len(region)] == region
            or outcome.places[0].how == "exact"
        )


def _disturb(line: str, how: str) -> str:
    if how == "shift":
        return "  " + line
    if how == "tabs":
        return line.replace("    ", "\t")
    return line + "  "


@pytest.mark.parametrize(
    "text, old, new, result",
    [
        ("\tif a:\n\t\tb()\n", "    if a:\n        b()\n", "    if a:\n        c()\n", "\tif a:\n\t\tc()\n"),
        ("if a:\n  b()\n", "if a:\n    b()", "if a:\n    b()\n    c()", "if a:\n  b()\n  c()\n"),
        ("class A:\n    def f(self):\n        b()\n", "def f(self):\n        b( )", "x", None),
        (
            "class A:\n    def f(self):\n        b()\n",
            "def f(self):\n        b() ",
            "def f(self):\n        c()",
            "class A:\n    def f(self):\n        c()\n",
        ),
        ("a  \n\tb\nc\n", "a\nb\nc", "a\nx\nc", None),
        ("a = 1\nb = 2\n", "    1→a = 1\n    2→b = 2", "    1→a = 1\n    2→b = 3", "a = 1\nb = 3\n"),
        ("a = 1\nb = 2\n", "\n\na = 1 \n\n", "a = 5", "a = 5\nb = 2\n"),
        ("x\na = 1\ny\n", "a = 1 ", "", "x\ny\n"),
        ("    a\n    b", "a \nb", "a\nB", "    a\n    B"),
    ],
    ids=[
        "tabs", "two for four", "inner white space is no white space at an end", "first line bare",
        "no single shift", "line numbers copied", "blank lines around", "lines removed",
        "no final newline",
    ],
)  # fmt: skip
def test_white_space_differences(text: str, old: str, new: str, result: str | None) -> None:
    outcome = find(text, old, new)

    if result is None:
        assert isinstance(outcome, Missed)
        return
    assert isinstance(outcome, Found)
    assert apply(text, outcome.places) == result


def test_the_strictest_reading_that_matches_decides() -> None:
    text = "if a:\n    go()\nif a:\n        go()\n"

    assert edited(text, "    go() ", "    stop()") == "if a:\n    stop()\nif a:\n        go()\n"


def test_two_places_that_match_but_for_white_space_are_refused() -> None:
    text = "def f():\n    x = 1\n    y = 2\ndef g():\n        x = 1\n        y = 2\n"

    outcome = find(text, "x = 1\ny = 2", "x = 3\ny = 2")

    assert outcome == Ambiguous((2, 5), "white space")


def test_a_replacement_whose_indentation_cannot_be_told_is_a_miss() -> None:
    text = "if a:\n    b()\n"

    assert isinstance(find(text, "        b()", "  c()"), Missed)


def test_lines_that_old_and_new_share_keep_the_files_own_white_space() -> None:
    text = "a = {  \n    'k': 1,\t\n    'l': 2,\n}\n"

    changed = edited(text, "a = {\n    'k': 1,\n    'l': 2,\n}", "a = {\n    'k': 1,\n    'l': 3,\n}")

    assert changed == "a = {  \n    'k': 1,\t\n    'l': 3,\n}\n"


@given(TEXT, TEXT)
def test_the_nearest_region_lies_in_the_file(text: str, old: str) -> None:
    region = nearest(text, old)

    if region is not None:
        assert 1 <= region.first_line <= region.last_line <= text.count("\n") + 1


def test_the_nearest_region_is_found_among_similar_ones() -> None:
    text = "\n".join([*(f"value_{n} = compute({n})" for n in range(40)), "total = add(first, second)", "end"])

    region = nearest(text, "total = add(frist, second)")

    assert region is not None
    assert (region.first_line, region.last_line) == (41, 41)


def test_a_miss_in_a_file_made_to_be_slow_is_answered_all_the_same() -> None:
    text = "\n".join("ab" * 100 + str(n) for n in range(3_000))

    assert nearest(text, "\n".join("ba" * 99 + f"-{n}" for n in range(40))) is not None
