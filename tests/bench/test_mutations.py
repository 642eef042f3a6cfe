"""Mutations: one place each, the rest of the file as it was, the same for the same seed."""

from __future__ import annotations

import ast
import difflib
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.mutations import Mutation, mutations

BENCH = Path(__file__).parents[2] / "bench"
SOURCES = sorted([*BENCH.glob("modules/*.py"), *BENCH.glob("algorithms/*.py"), *BENCH.glob("*.py")])
TRICKY = '''\
"""A module: 1 < 2."""
import math

LIMIT = 10  # not in a function, so left alone


class Gauge:
    def __init__(self, low, high):
        self.low = low; self.high = high

    def inside(self, värde: int = 3) -> "bool":
        """Whether low <= värde < high; "ü" in a comment counts as one character."""
        über = f"{värde + 1:>{self.low}}"  # an f-string: positions in it are not to be trusted
        return (self.low) <= värde < self.high and not (über is None)


def window(items, start, stop=None):
    # a < comment
    if start not in items or (
        stop
        is not None
    ):
        return items[start:stop], max(start, 5)
    for i in range(1, len(items)):
        if items[i] % 2 == 0:
            continue
        print("even", "odd", math.floor(i + 1))
        break
    return -start
'''


def all_of(source: str, seed: int = 0) -> list[Mutation]:
    return list(mutations(source, seed))


@settings(max_examples=40, deadline=None)
@given(path=st.sampled_from(SOURCES), seed=st.integers(0, 10_000))
def test_one_bounded_place_and_it_parses(path: Path, seed: int) -> None:
    source = path.read_text(encoding="utf-8")
    for mutation in islice(mutations(source, seed), 8):
        assert_one_place(source, mutation)


@pytest.mark.parametrize(
    "source",
    [TRICKY, TRICKY.replace("\n", "\r\n"), TRICKY.rstrip("\n")],
    ids=["newlines", "carriage returns", "no final newline"],
)
def test_tricky_formatting(source: str) -> None:
    found = all_of(source)
    for mutation in found:
        assert_one_place(source, mutation)
    assert {m.line for m in found}.isdisjoint({1, 2, 4, 5})


def assert_one_place(source: str, mutation: Mutation) -> None:
    tree = ast.parse(mutation.source)
    assert ast.dump(tree) != ast.dump(ast.parse(source))
    old, new = source.splitlines(keepends=True), mutation.source.splitlines(keepends=True)
    blocks = [
        op for op in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if op[0] != "equal"
    ]
    assert len(blocks) <= 2  # a dropped line among equal lines may be matched in two ways
    assert sum(end - start for _, start, end, _, _ in blocks) <= 8
    assert mutation.before in source
    assert mutation.after in mutation.source
    assert len(new) in (len(old), len(old) - 1) or "\n" in mutation.before
    first = mutation.before.splitlines()[0]
    assert source.splitlines()[mutation.line - 1].strip() == first.strip()


def test_every_kind_the_benchmark_speaks_of() -> None:
    modules = sorted(BENCH.glob("modules/[a-s]*.py"))
    kinds = {m.kind for path in modules for m in islice(mutations(path.read_text(encoding="utf-8"), 1), 14)}
    assert kinds == {
        "comparison", "arithmetic", "boolean", "off by one", "wrong variable", "swapped arguments",
        "dropped line", "constant", "negation", "return value", "slice", "wrong attribute", "wrong function",
        "loop control",
    }  # fmt: skip


def test_same_seed_same_order() -> None:
    first, second = all_of(TRICKY, 5), all_of(TRICKY, 5)
    assert first == second
    other = all_of(TRICKY, 6)
    assert other != first
    assert {m.source for m in other} == {m.source for m in first}


def test_no_mutation_twice() -> None:
    sources = [m.source for m in all_of(TRICKY)]
    assert len(sources) == len(set(sources))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < b", {"return a <= b", "return a > b"}),
        ("return a not in b", {"return a in b"}),
        ("return not a", {"return a"}),
        ("return a and b", {"return a or b"}),
        ("return a + 1", {"return a - 1", "return a", "return a + 2", "return a + 0"}),
        ("return f(a, b)", {"return f(b, a)"}),
        ("return a[1:b]", {"return a[1:]", "return a[:b]", "return a[1:b + 1]", "return a[2:b]"}),
        ("return a[1:]", {"return a[:1]", "return a[2:]"}),
        ("return a, b", {"return b, a"}),
        ("return a.startswith(b)", {"return a.endswith(b)"}),
        ("return min(a, b)", {"return max(a, b)"}),
        ("return True", {"return False"}),
        (
            "return a.lower == 'x' or 'yes'",
            {"return a.lower == 'yes' or 'yes'", "return a.upper == 'x' or 'yes'"},
        ),
        ("return list(range(a))", {"return list(range(a - 1))", "return list(range(a + 1))"}),
        ("return sorted(a)", {"return a", "return list(a)"}),
        ("return 250", {"return 25", "return 520", "return 251"}),
    ],
)
def test_edits_of_a_line(line: str, expected: set[str]) -> None:
    found = {m.after for m in all_of(f"def f(a, b):\n    {line}\n")}
    assert expected <= found


def test_dropped_line_leaves_the_others() -> None:
    source = "def f(a):\n    b = a\n    b += 1  # one more\n    return b\n"
    dropped = [m for m in all_of(source) if m.kind == "dropped line"]
    assert {m.source for m in dropped} == {
        "def f(a):\n    b += 1  # one more\n    return b\n",
        "def f(a):\n    b = a\n    return b\n",
    }
    assert {(m.line, m.before, m.after) for m in dropped} == {(2, "b = a", ""), (3, "b += 1  # one more", "")}


def test_last_statement_of_a_block_is_not_dropped() -> None:
    found = all_of('def f(a):\n    """Doc."""\n    a.clear()\n')
    assert not [m for m in found if m.kind == "dropped line"]


def test_lone_carriage_returns_are_refused() -> None:
    with pytest.raises(ValueError, match="carriage returns"):
        all_of("def f(a):\r    return a\r")
