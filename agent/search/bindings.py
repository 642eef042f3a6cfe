"""Where a file's names are chosen: a model is surprised by any name there, and rightly so.

The name of a function or a new variable cannot be guessed before it is read, nor which parameters a function
has and whether their types are written down. Such a surprise says nothing of a fault, while a surprise where
a name is used does, or one in a parameter's default.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agent.search.units import parse, split_lines

Span = tuple[int, int]


def chosen_names(source: str) -> tuple[list[Span], list[Span]]:
    """Character spans of (signatures without their defaults, names where a statement first binds them)."""
    tree = parse(source)
    if tree is None:
        return [], []
    offsets = _Offsets(source)
    signatures: list[Span] = []
    bound: list[Span] = []
    for scope in _scopes(tree):
        known: set[str] = set()
        if isinstance(scope, ast.ClassDef):
            at = offsets.find(scope.name, scope.lineno, scope.col_offset)
            signatures += [at] if at else []
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            signatures += _signature(scope, offsets)
            known |= {parameter.arg for parameter in _parameters(scope)}
        for node in _own_stores(scope):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in known:
                continue
            known.add(name)
            bound.append((offsets.at(node.lineno, node.col_offset), offsets.end(node)))
    return signatures, bound


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef, offsets: _Offsets) -> list[Span]:
    """From the name to the colon, around the defaults and the character before each."""
    name = offsets.find(function.name, function.lineno, function.col_offset)
    if name is None:
        return []
    given = function.args
    defaults = [default for default in (*given.defaults, *given.kw_defaults) if default is not None]
    parts = [*_parameters(function), *defaults, *([function.returns] if function.returns else [])]
    end = offsets.after(":", max([name[1], *(offsets.end(part) for part in parts)]))
    spans: list[Span] = []
    start = name[0]
    for default in sorted(defaults, key=lambda node: (node.lineno, node.col_offset)):
        spans.append((start, offsets.at(default.lineno, default.col_offset) - 1))
        start = offsets.end(default)
    return [*spans, (start, end)]


class _Offsets:
    """Positions of the syntax tree (line, UTF-8 column) as characters of the file."""

    def __init__(self, source: str) -> None:
        self._source = source
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

    def end(self, node: ast.expr | ast.arg) -> int:
        return self.at(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def after(self, mark: str, start: int) -> int:
        """Behind the next `mark`, or `start` where there is none."""
        return self._source.find(mark, start) + 1 or start

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
