"""Cuts a Python file into the units that the search reads: functions, and the code between them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONG_FUNCTION = 160
"""Lines; a function longer than this gives its nested functions as units of their own."""
LONG_BLOCK = 40

_DEF = re.compile(r"^(\s*)(?:async\s+def|def)\s+(\w+)")


@dataclass(frozen=True)
class Unit:
    name: str
    """Qualified name (`Stack.push`); `<module>` or `Stack.<body>` for code outside functions."""
    start: int
    """First line, 1-based, decorators included."""
    end: int
    """Last line, included."""
    classes: tuple[int, ...] = ()
    """Lines of the headers of the classes around it, outermost first."""

    def holds(self, line: int) -> bool:
        return self.start <= line <= self.end

    @property
    def is_function(self) -> bool:
        return not self.name.endswith(">")


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None for what is no Python (too deep a nesting and null bytes included)."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def split_lines(source: str) -> list[str]:
    """Lines as Python counts them (`str.splitlines` also cuts at form feeds and the like), ends kept."""
    return re.findall(r"[^\n]*\n|[^\n]+$", source)


def units(source: str) -> list[Unit]:
    """Every unit of a file in order of its lines. A file that does not parse is cut by its `def` lines."""
    tree = parse(source)
    if tree is None:
        return _units_by_indentation(source)
    return list(_walk(tree.body, "", ()))


def first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", None) or ()
    return min([node.lineno, *(d.lineno for d in decorators)])


def _walk(body: Sequence[ast.stmt], scope: str, classes: tuple[int, ...]) -> Iterator[Unit]:
    block: list[ast.stmt] = []
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            nested = [part for part in _bodies(node) if _defines(part)]
            if not nested:
                block.append(node)
                continue
            yield from _blocks(block, scope, classes)
            block = []
            for part in nested:
                yield from _walk(part, scope, classes)
            continue
        yield from _blocks(block, scope, classes)
        block = []
        name = f"{scope}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _walk(node.body, f"{name}.", (*classes, node.lineno))
            continue
        end = node.end_lineno or node.lineno
        yield Unit(name, first_line(node), end, classes)
        if end - node.lineno > LONG_FUNCTION:
            yield from _nested(node, name, classes)
    yield from _blocks(block, scope, classes)


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        part = getattr(node, field, None)
        if isinstance(part, list):
            yield part
    for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield branch.body


def _defines(body: Sequence[ast.stmt]) -> bool:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return any(isinstance(inner, kinds) for node in body for inner in ast.walk(node))


def _nested(node: ast.stmt, name: str, classes: tuple[int, ...]) -> Iterator[Unit]:
    for inner in ast.walk(node):
        if inner is not node and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Unit(f"{name}.{inner.name}", first_line(inner), inner.end_lineno or inner.lineno, classes)


def _blocks(nodes: list[ast.stmt], scope: str, classes: tuple[int, ...]) -> Iterator[Unit]:
    """Neighbouring plain statements together, up to LONG_BLOCK lines a unit; no docstrings, no imports."""
    name = f"{scope}<body>" if scope else "<module>"
    start = end = 0
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom) or is_docstring(node):
            continue
        last = node.end_lineno or node.lineno
        if start and last - start >= LONG_BLOCK:
            yield Unit(name, start, end, classes)
            start = 0
        start = start or node.lineno
        end = last
    if start:
        yield Unit(name, start, end, classes)


def is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _units_by_indentation(source: str) -> list[Unit]:
    lines = source.split("\n")
    found: list[Unit] = []
    for number, line in enumerate(lines, 1):
        match = _DEF.match(line)
        if match is None:
            continue
        depth = len(match[1])
        end = number
        for later in range(number, len(lines)):
            text = lines[later]
            if text.strip() and len(text) - len(text.lstrip()) <= depth:
                break
            if text.strip():
                end = later + 1
        found.append(Unit(match[2], number, end))
    return found


def innermost_statement(tree: ast.Module, line: int) -> ast.stmt | None:
    """The smallest statement whose lines hold `line`, decorators included."""
    best: ast.stmt | None = None
    body: list[ast.stmt] = tree.body
    while True:
        inner = next((n for n in body if first_line(n) <= line <= (n.end_lineno or n.lineno)), None)
        if inner is None:
            return best
        best = inner
        body = [child for part in _bodies(inner) for child in part]


def statement_starts(source: str, first: int, last: int) -> list[int]:
    """Lines in which the statements of a function's body (or of a stretch of lines) begin, in order."""
    tree = parse(source)
    if tree is None:
        return []
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and first < first_line(node) <= last and not is_docstring(node):
            found.add(first_line(node))
    return sorted(found)


def header_end(node: ast.stmt) -> int:
    """Last line of a statement without the statements in it (`if` up to its colon)."""
    body = getattr(node, "body", None)
    if not isinstance(body, list) or not body:
        return node.end_lineno or node.lineno
    return max(node.lineno, first_line(body[0]) - 1)
