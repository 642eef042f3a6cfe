from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.plain_text import PlainStream, plain, visible

OPENINGS = ["\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x9b", "\x9d", "\x90", "\x9f"]
ENDS = ["\x1b\\", "\x07", "\x9c"]
REST = ["31m", "0;title", "a", "\n", "\r", "\t", "é", "\u202e", "\u200b", "\x7f", "\x08", " ", "(B", "c"]
PIECE = st.sampled_from([*OPENINGS, *ENDS, *REST])
TEXT = st.lists(PIECE, max_size=40).map("".join)


def test_what_is_no_text_is_no_byte_either() -> None:
    assert plain("a\udc9b31mb\ud800") == "a\ufffd31mb\ufffd"


def is_harmless(text: str) -> bool:
    return all(
        (ord(c) >= 0x20 or c in "\t\n")
        and not 0x7F <= ord(c) < 0xA0
        and c not in f"\u202a\u202e\u2066{NOT_SEEN}"
        for c in text
    )


@given(st.one_of(TEXT, st.text()))
def test_no_control_survives_and_a_second_pass_changes_nothing(text: str) -> None:
    once = plain(text)

    assert is_harmless(once)
    assert plain(once) == once


# No controls by their category, and not seen all the same: joiners, fillers, selectors, places left for tags.
NOT_SEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u3164\uffa0"
SEEN = st.characters(
    exclude_categories=("Cc", "Cf", "Cs"), exclude_characters=NOT_SEEN, max_codepoint=0xDFFFF
)


@given(st.text(alphabet=SEEN | st.sampled_from("\t\n")))
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rm \u202efdp.exe", "rm \\u202efdp.exe"),
        ("a\u200bb\x1b[2J\r\n", "a\\u200bb\\u001b[2J\\u000d\n"),
        ("\U000e0041", "\\U000e0041"),
        ("\\u202e", "\\\\u202e"),
        (r"sed 's/\n/\t/' \x", r"sed 's/\n/\t/' \x"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("rm a\u00a0b\u2028c\u3000d\u2800e", r"rm a\u00a0b\u2028c\u3000d\u2800e"),
    ],
)
def test_what_is_not_seen_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def meant(shown: str) -> str:
    """The text that `visible` showed so."""
    parts, at = [], 0
    for found in re.finditer(r"(\\+)(?:u([0-9a-f]{4})|U([0-9a-f]{8}))?(?=(.?))", shown, re.DOTALL):
        slashes, code = found[1], found[2] or found[3]
        parts.append(shown[at : found.start()])
        if code and len(slashes) % 2:
            parts.append("\\" * (len(slashes) // 2) + chr(int(code, 16)))
        elif code or found[4] in ("u", "U"):
            parts.append("\\" * (len(slashes) // 2) + found[0][len(slashes) :])
        else:
            parts.append(found[0])
        at = found.end()
    return "".join(parts) + shown[at:]


MARKS = st.sampled_from(["\\", "u", "U", "202e", "\u202e", "000e0041", "\U000e0041", "\x1b", "n", " "])


@given(st.one_of(st.lists(MARKS, max_size=12).map("".join), st.text(), TEXT))
def test_no_two_texts_are_shown_alike(text: str) -> None:
    shown = visible(text)

    assert plain(shown) == shown
    assert meant(shown) == text
