"""Sieves edits: what does not compile, means the same, was seen, or uses names that nothing binds."""

from __future__ import annotations

import ast
import builtins
import hashlib
import symtable
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.search.splice import SHAPE_PENALTY, Splice
from agent.search.surprise import Point, Region
from agent.search.units import is_docstring, split_lines

BRANCH_WEIGHT = 0.1
"""How much the log-probability of the rest of a branch counts beside the gap that led to it."""
_ALWAYS_BOUND = {
    *dir(builtins),
    "__file__",
    "__path__",
    "__class__",
    "__module__",
    "__qualname__",
    "__annotations__",
}


@dataclass(frozen=True)
class Edit:
    """A candidate: one file, rewritten."""

    file: str
    line: int
    """First line that differs."""
    before: str
    after: str
    """The differing lines, without those around them."""
    source: str
    """The whole new file."""
    score: float

    @property
    def size(self) -> int:
        """Characters that differ, roughly: the smaller of two edits that pass is preferred."""
        return abs(len(self.after) - len(self.before)) + sum(
            a != b for a, b in zip(self.before, self.after, strict=False)
        )


class Sieve:
    """Remembers what was let through for one file, so that nothing is tried twice."""

    def __init__(self, file: str, source: str) -> None:
        self.file = file
        self.source = source
        tree = compiled_tree(source)
        self._seen = {_meaning(tree)} if tree is not None else set()
        self._unknown = unknown_names(source) if tree is not None else None

    def admit(self, new_source: str, score: float) -> Edit | None:
        """The edit, or None where it cannot help."""
        tree = compiled_tree(new_source)
        if tree is None:
            return None
        meaning = _meaning(tree)
        if meaning in self._seen:
            return None
        self._seen.add(meaning)
        if self._unknown is not None and not unknown_names(new_source) <= self._unknown:
            return None
        line, before, after = difference(self.source, new_source)
        return Edit(self.file, line, before, after, new_source, score)


def edits(
    sieve: Sieve, where: Region, point: Point, shapes: Iterable[Splice], logprob: float
) -> Iterator[Edit]:
    """What the sieve lets through of the shapes of one branch."""
    lines = split_lines(sieve.source)
    head = "".join(lines[: where.suspect.start_line - 1])
    tail = "".join(lines[where.suspect.end_line :])
    for shape in shapes:
        score = point.score + BRANCH_WEIGHT * max(logprob, -20.0) - SHAPE_PENALTY[shape.shape]
        edit = sieve.admit(head + shape.text + tail, score)
        if edit is not None:
            yield edit


def compiled_tree(source: str) -> ast.Module | None:
    """The tree of what Python would accept: `return` outside a function and the like are refused too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
            compile(tree, "candidate", "exec", dont_inherit=True)
        return tree
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def unknown_names(source: str) -> frozenset[str]:
    """Global names that the file uses and nothing in it binds; empty where `import *` may bind anything."""
    try:
        top = symtable.symtable(source, "candidate", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    bound = set(_ALWAYS_BOUND)
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        for symbol in table.get_symbols():
            name = symbol.get_name()
            outermost = table is top or symbol.is_declared_global()
            if outermost and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                bound.add(name)
            if symbol.is_referenced() and (symbol.is_global() or table is top):
                used.add(name)
    return frozenset() if "import *" in source else frozenset(used - bound)


def difference(old: str, new: str) -> tuple[int, str, str]:
    """(first differing line, its old lines, its new lines)."""
    a, b = old.split("\n"), new.split("\n")
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    return start + 1, "\n".join(a[start : len(a) - end]), "\n".join(b[start : len(b) - end])


def _meaning(tree: ast.Module) -> bytes:
    """Equal for sources that differ in layout, comments and docstrings only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and is_docstring(node):
            node.value = ast.Constant("")
    return hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).digest()
