from __future__ import annotations

from agent.search.localise import Suspect
from agent.search.prefix import prefix
from agent.search.surprise import points, region
from engine.request import Alternative, ScoredToken

SOURCE = '''\
"""About lists."""
import os
from math import pi

UNUSED = 1
LIMIT = 3


class Box(Base):
    """A box."""

    size: int = 2

    def __init__(self):
        self.items = []

    def put(self, item):
        """Put it in."""
        # a comment
        if len(self.items) < LIMIT:
            self.items.append("text" + item)
        return item


def after():
    pass
'''
PUT = Suspect("box.py", "Box.put", 17, 22, 1.0, {17: 1.0, 20: 1.0, 21: 0.5, 22: 1.0}, (9,))


def token(
    where, standing: str, others: list[tuple[str, float]], logprob: float = -4.0, nth: int = 0
) -> ScoredToken:
    start = -1
    for _ in range(nth + 1):
        start = where.sent.index(standing, start + 1)
    return ScoredToken(
        index=start,
        token_id=0,
        start=start,
        end=start + len(standing),
        logprob=logprob,
        alternatives=tuple(Alternative(token_id=n + 1, text=t, logprob=p) for n, (t, p) in enumerate(others)),
    )


def test_the_text_sent_and_its_lines():
    where = region(SOURCE, PUT)
    assert where.text.startswith("    def put(") and where.text.endswith("        return item\n")
    assert where.following == "\n\ndef", "what comes after, up to its first word"
    assert where.line_at(where.text.index("if len")) == 20


def test_points_by_gap_and_suspiciousness():
    where = region(SOURCE, PUT)
    found = points(
        [
            token(where, " <", [(" <=", -0.5)]),
            token(where, ".append", [(".add", -0.5)]),
            token(where, " item\n", [(" self", -0.2)], logprob=-1.0, nth=0),
        ],
        where,
    )
    assert [point.text for point in found] == [" <=", ".add", " self"]
    assert found[0].line == 20 and found[0].gap == 3.5
    assert found[0].score > found[1].score, "the same gap, on a line that fewer failing tests ran"


def test_what_is_no_point():
    where = region(SOURCE, PUT)
    quiet = [
        token(where, "Put it", [("Take", -0.1)]),
        token(where, " comment", [(" remark", -0.1)]),
        token(where, " <", [(" <=", -4.0)]),
        token(where, "        if", [("        # then", -0.1)]),
        token(where, "\n        if", [("\n\n", -0.1)]),
        token(where, "def", [("class", -0.1)], nth=1),
    ]
    kept = points(quiet, where)
    assert [point.text for point in kept] == ["\n\n"] or kept == []


def test_words_in_strings_come_later():
    where = region(SOURCE, PUT)
    found = points(
        [token(where, "text", [("word", -0.1)]), token(where, " + item", [(" * item", -3.0)])], where
    )
    assert [point.text for point in found] == [" * item", "word"]


def test_where_empty_lines_stand_the_model_may_want_one_more_line():
    where = region(SOURCE, PUT)
    end = ScoredToken(
        index=9,
        token_id=0,
        start=len(where.text) - 1,
        end=len(where.text) + 2,
        logprob=-3.0,
        alternatives=(
            Alternative(token_id=1, text="\n", logprob=-0.2),
            Alternative(token_id=2, text="\n\n", logprob=-0.3),
        ),
    )
    assert [point.text for point in points([end], where)] == ["\n"]


def test_the_prefix_shows_what_a_reader_needs():
    text = prefix("box.py", SOURCE, PUT, ["def test_put():\n    Box().put(1)\n", "x\n" * 100])
    assert "def test_put()" in text and "x\nx" not in text, "what is too long is left out"
    assert "import os\nfrom math import pi\n" in text
    assert "LIMIT = 3" in text and "UNUSED" not in text, "constants that the code uses"
    assert "class Box(Base):" in text and "size: int = 2" in text and "def __init__(self):" in text
    assert "def put" not in text and "after" not in text
    assert "box.py" in text and "correct" in text


def test_a_prefix_for_a_file_that_does_not_parse():
    assert "box.py" in prefix("box.py", "def f(:\n", Suspect("box.py", "f", 1, 1, 1.0))
