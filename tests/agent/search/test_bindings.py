from __future__ import annotations

from agent.search.bindings import chosen_names

SOURCE = """\
LIMIT: int = 3
LIMIT = 4


class Bär:
    size = LIMIT

    def füllen(self, menge, *rest, deckel=True, **more):
        self.ä = menge
        self.ä = size = 1
        for i, j in rest:
            size += i
        return [k for k in more], lambda z: z


async def other(menge):
    menge = 2
    with menge as offen:
        return offen
"""


def texts(spans: list[tuple[int, int]]) -> list[str]:
    return [SOURCE[start:end] for start, end in sorted(spans)]


def test_names_of_signatures_and_first_bindings():
    signatures, bound = chosen_names(SOURCE)

    assert texts(signatures) == ["Bär", "füllen(self, menge, *rest, deckel", ", **more):", "other(menge):"]
    assert texts(bound) == ["LIMIT", "size", "self.ä", "size", "i", "j", "k", "offen"]


def test_types_belong_to_the_signature_and_defaults_do_not():
    source = "def f(a: int, b: str = ')', *, c={1: 2}, d) -> dict[str, int]:  # c: d\n    return a\n"

    signatures, _ = chosen_names(source)

    assert [source[start:end] for start, end in signatures] == [
        "f(a: int, b: str =",
        ", *, c",
        ", d) -> dict[str, int]:",
    ]


def test_nothing_for_a_file_that_does_not_parse():
    assert chosen_names("def f(:") == ([], [])
