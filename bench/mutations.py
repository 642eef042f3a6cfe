"""One-place bugs in Python source, made by textual edits at AST positions.

`mutations(source, seed)` yields `Mutation`s in an order fixed by the seed. Every one changes a single
place inside a function's body, leaves all other characters of the file as they were, and still
compiles. The kinds take turns, so that a kind with many places (wrong variable) does not crowd out one
with few (missing negation). What makes an edit at a node lives in `bench/edits.py`.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bench.edits import Edit, edits


@dataclass(frozen=True)
class Mutation:
    kind: str
    line: int
    """1-based line where the change begins, in the source as it was."""
    before: str
    """The whole lines that changed, as they were, without indentation or final newline."""
    after: str
    """The same lines with the bug; empty where a line was dropped."""
    source: str
    """The whole file with the bug."""


def mutations(source: str, seed: int) -> Iterator[Mutation]:
    """Every mutation of `source` once, in the order that `seed` fixes.

    Raises SyntaxError where the source itself does not parse, ValueError for lone carriage returns
    (AST lines and text lines would disagree).
    """
    if re.search(r"\r(?!\n)", source):
        raise ValueError("The source has lone carriage returns, so its lines cannot be located.")
    tree = ast.parse(source)
    original = ast.dump(tree)
    rng = random.Random(f"mutations {seed}")
    seen: set[str] = set()
    for edit in _in_turns(list(edits(source, tree)), rng):
        changed = source[: edit.start] + edit.text + source[edit.end :]
        if changed in seen or not _is_new_program(changed, original):
            continue
        seen.add(changed)
        yield _describe(source, changed, edit)


def _in_turns(found: list[Edit], rng: random.Random) -> Iterator[Edit]:
    by_kind: dict[str, list[Edit]] = {}
    for edit in found:
        by_kind.setdefault(edit.kind, []).append(edit)
    for queue in by_kind.values():
        rng.shuffle(queue)
    while by_kind:
        turn = sorted(by_kind)
        rng.shuffle(turn)
        for kind in turn:
            yield by_kind[kind].pop()
            if not by_kind[kind]:
                del by_kind[kind]


def _is_new_program(changed: str, original: str) -> bool:
    try:
        compile(changed, "<mutation>", "exec")  # a `continue` outside a loop parses, but does not compile
        return ast.dump(ast.parse(changed)) != original
    except (SyntaxError, ValueError):
        return False


def _describe(source: str, changed: str, edit: Edit) -> Mutation:
    first = source.rfind("\n", 0, edit.start) + 1
    whole_lines = edit.text == "" and source[edit.end - 1 : edit.end] == "\n" and edit.start == first
    last = edit.end if whole_lines else _line_end(source, edit.end)
    before = source[first:last]
    after = changed[first : last + len(changed) - len(source)]
    return Mutation(edit.kind, source.count("\n", 0, edit.start) + 1, before.strip(), after.strip(), changed)


def _line_end(source: str, at: int) -> int:
    end = source.find("\n", at)
    return len(source) if end < 0 else end
