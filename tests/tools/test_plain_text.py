from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.plain_text import PlainStream, plain

OPENINGS = ["\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x9b", "\x9d", "\x90", "\x9f"]
ENDS = ["\x1b\\", "\x07", "\x9c"]
REST = ["31m", "0;title", "a", "\n", "\r", "\t", "é", "\u202e", "\x7f", "\x08", " ", "(B", "c"]
PIECE = st.sampled_from([*OPENINGS, *ENDS, *REST])
TEXT = st.lists(PIECE, max_size=40).map("".join)


def is_harmless(text: str) -> bool:
    return all(
        (ord(c) >= 0x20 or c in "\t\n") and not 0x7F <= ord(c) < 0xA0 and c not in "\u202a\u202e\u2066"
        for c in text
    )


@given(st.one_of(TEXT, st.text()))
def test_no_control_survives_and_a_second_pass_changes_nothing(text: str) -> None:
    once = plain(text)

    assert is_harmless(once)
    assert plain(once) == once


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cf", "Cs")) | st.sampled_from("\t\n")))
def test_text_without_controls_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@given(TEXT, st.lists(st.integers(0, 80), max_size=8))
def test_a_stream_in_any_chunks_says_what_the_whole_says(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stream = PlainStream()

    streamed = [stream.push(text[a:b]) for a, b in pairwise(edges)]
    streamed.append(stream.close())

    assert "".join(streamed) == plain(text)


@pytest.mark.parametrize(
    "raw, shown",
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1bPq#0;2;0\n;0;0\x1b\\after", "after"),
        ("\x1b_Gpayload\x1b\\after", "after"),
        ("\x9b31mred", "red"),
        ("\x1b]0;never closed\nnext", "0;never closed\nnext"),
        ("\x1b(Btext\x1bc", "text"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
    ],
)
def test_each_kind_of_sequence(raw: str, shown: str) -> None:
    assert plain(raw) == shown


def test_a_flood_of_openings_is_read_in_linear_time() -> None:
    assert plain("\x9d" * 300_000 + "\x1b]" * 300_000 + "end") == "end"


def test_a_stream_does_not_wait_for_ever_for_an_end() -> None:
    stream = PlainStream()

    assert "x" * 100 in stream.push("\x1b]" + "x" * 20_000)
