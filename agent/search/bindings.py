"""Where a file's names are chosen: a model is surprised by any name there, and rightly so.

The name of a function, a parameter or a new variable cannot be guessed before it is read. Such a surprise
says nothing of a fault, while a surprise where a name is used does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agent.search.units import parse, split_lines

Span = tuple[int, int]


def chosen_names(source: str) -> tuple[list[Span], list[Span]]:
    """Character spans of (names in signatures, names where they are first bound by a statement)."""
    tree = parse(source)
    if tree is None:
        return [], []
    offsets = _Offsets(source)
    signatures: list[Span] = []
    bound: list[Span] = []
    for scope in _scopes(tree):
        known: set[str] = set()
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            at = offsets.find(scope.name, scope.lineno, scope.col_offset)
            signatures += [at] if at else []
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            for parameter in _parameters(scope):
                signatures.append(offsets.span(parameter.lineno, parameter.col_offset, parameter.arg))
                known.add(parameter.arg)
        for node in _own_stores(scope):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in known:
                continue
            known.add(name)
            end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
            start = offsets.at(node.lineno, node.col_offset)
            bound.append((start, offsets.at(*end)))
    return signatures, bound


class _Offsets:
    """Positions of the syntax tree (line, UTF-8 column) as characters of the file."""

    def __init__(self, source: str) -> None:
        self._lines = split_lines(source)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        if line > len(self._lines):
            return self._starts[-1]
        text = self._lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode("utf-8", "ignore"))
        return self._starts[line - 1] + column

    def span(self, line: int, column: int, name: str) -> Span:
        start = self.at(line, column)
        return start, start + len(name)

    def find(self, name: str, line: int, column: int) -> Span | None:
        """The name in the header that starts there, after its `def` or `class`."""
        start = self.at(line, column)
        text = self._lines[line - 1]
        within = text.find(f" {name}", start - self._starts[line - 1])
        if within < 0:
            return None
        begin = self._starts[line - 1] + within + 1
        return begin, begin + len(name)


def _scopes(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = function.args
    rest = [argument for argument in (given.vararg, given.kwarg) if argument is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


def _own_stores(scope: ast.AST) -> list[ast.Name | ast.Attribute]:
    """Names and `self` attributes that this scope's own statements bind, in order of the text."""
    found: list[ast.Name | ast.Attribute] = []
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.append(node)
        waiting.extend(ast.iter_child_nodes(node))
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))
