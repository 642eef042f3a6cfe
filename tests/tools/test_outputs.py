from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.calling import OpenContext, call
from tools import NotKept, OutputStore

LINES = "".join(f"line {n}\n" for n in range(1, 101))


def test_short_text_is_left_alone_and_not_kept() -> None:
    store = OutputStore()

    assert store.cut("a\nb\n", 100) == "a\nb\n"
    assert store.ids() == []


@pytest.mark.parametrize(
    "keep, first, last",
    [("head", "line 1", None), ("tail", None, "line 100"), ("both", "line 1", "line 100")],
)
def test_a_cut_keeps_whole_lines_and_names_what_is_gone(keep, first: str | None, last: str | None) -> None:
    store = OutputStore()

    shown = store.cut(LINES, 120, keep=keep).split("\n")

    (marker,) = [line for line in shown if line.startswith("[…")]
    assert "of 100 left out" in marker and "output id=o1" in marker
    assert first is None or shown[0] == first
    assert last is None or shown[-1] == last
    assert set(shown) - {marker} <= set(LINES.split("\n"))
    assert store.get("o1") == LINES


@given(st.text(alphabet="ab\n", max_size=300), st.integers(1, 200), st.sampled_from(["head", "tail", "both"]))
def test_a_cut_never_passes_its_budget_by_more_than_the_marker(text: str, budget: int, keep) -> None:
    shown = OutputStore().cut(text, budget, keep=keep)

    assert len(shown) <= max(budget, 0) + 120
    assert shown == text or "left out" in shown


def test_one_endless_line_is_cut_inside() -> None:
    store = OutputStore()

    shown = store.cut("x" * 1000, 90, keep="both")

    assert "910 characters left out" in shown
    assert store.get("o1") == "x" * 1000


def test_the_oldest_outputs_go_when_the_store_is_full() -> None:
    store = OutputStore(limit=25)

    for letter in "abc":
        store.keep(letter * 10)

    assert store.ids() == ["o2", "o3"]
    assert store.get("o1") is None


def test_a_store_on_a_folder_is_there_again_after_a_restart(tmp_path: Path) -> None:
    first = OutputStore(tmp_path / "outputs")
    first.keep("one\r\n")
    first.keep("zwei \N{SNOWMAN}")

    second = OutputStore(tmp_path / "outputs")

    assert second.get("o1") == "one\r\n"
    assert second.get("o2") == "zwei \N{SNOWMAN}"
    assert second.keep("three") == "o3"
    assert stat.S_IMODE((tmp_path / "outputs" / "o3.txt").stat().st_mode) == 0o600


async def test_the_output_tool_shows_a_range_or_what_matches(open_context: OpenContext) -> None:
    ctx = await open_context({})
    ctx.outputs.keep(LINES)

    ranged = await call(ctx, "output", id="o1", start=3, end=4)
    found = await call(ctx, "output", id="o1", search="LINE 42")

    assert ranged.text == "    3→line 3\n    4→line 4\n[2 of 100 lines]"
    assert found.text == "   42→line 42\n[1 of 100 lines]"


async def test_the_output_tool_says_how_to_go_on(open_context: OpenContext) -> None:
    ctx = await open_context({}, budget=60)
    ctx.outputs.keep(LINES)

    result = await call(ctx, "output", id="o1")

    assert "[4 of 100 lines shown; go on with output id=o1 start=5]" in result.text
    assert ctx.outputs.ids() == ["o1"]


async def test_one_endless_line_can_be_read_to_its_end(open_context: OpenContext) -> None:
    ctx = await open_context({})
    ctx.outputs.keep("x" * 2_500 + "end")

    result = await call(ctx, "output", id="o1", start=3)

    assert result.text == f"    3→{'x' * 500}end\n[1 of 3 lines]"


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"id": "o9"}, "There is no output 'o9'; there are o1."),
        ({"id": "o1", "start": 200}, "has 100 lines"),
        ({"id": "o1", "start": 9, "end": 3}, "range is empty"),
        ({"id": "o1", "search": "absent"}, "No line of output o1 holds 'absent'"),
    ],
)
async def test_the_output_tool_explains_a_bad_request(
    open_context: OpenContext, arguments: dict, said: str
) -> None:
    ctx = await open_context({})
    ctx.outputs.keep(LINES)

    result = await call(ctx, "output", **arguments)

    assert not result.ok
    assert said in result.text


def test_a_full_disk_is_one_sentence_and_leaves_no_half(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    (tmp_path / "o1.txt").symlink_to("/dev/full")

    with pytest.raises(NotKept, match=r"No space left on device.*\.$"):
        store.keep("x" * 100)
    assert store.ids() == [] and list(tmp_path.iterdir()) == []
