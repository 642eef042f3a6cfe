"""Takes test functions out of test files, so that an agent cannot see them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def function_of(node_id: str) -> str:
    """The test function of a pytest node id: "tests/test_a.py::TestB::test_c[1-x]" without "[1-x]"."""
    path, _, name = node_id.partition("::")
    return f"{path}::{name.partition('[')[0]}"


def removable(repo: Path, functions: Iterable[str]) -> list[str]:
    """Those of `functions` whose text stands in the file that their id names (not inherited, no doctest)."""
    found = []
    for function in functions:
        path, _, name = function.partition("::")
        file = repo / path
        if file.suffix == ".py" and file.is_file() and list(_find(ast.parse(file.read_bytes()), name)):
            found.append(function)
    return found


def hold_back(repo: Path, functions: Iterable[str]) -> None:
    """Remove `functions` from the test files in `repo`, with their decorators."""
    by_file: dict[str, list[str]] = {}
    for function in functions:
        path, _, name = function.partition("::")
        by_file.setdefault(path, []).append(name)
    for path, names in by_file.items():
        file = repo / path
        # Bytes, split at newlines only: AST lines are those, and the file's own line ends stay.
        file.write_bytes(without(file.read_bytes(), names))


def without(source: bytes, names: Iterable[str]) -> bytes:
    """`source` without the functions called `names` ("test_a" or "TestB::test_c").

    Raises ValueError where one of them is not there.
    """
    tree = ast.parse(source)
    lines = source.split(b"\n")
    for name in names:
        found = list(_find(tree, name))
        if not found:
            raise ValueError(f"There is no test function {name} to hold back.")
        for body, function in found:
            first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
            assert function.end_lineno is not None
            for number in range(first, function.end_lineno + 1):
                lines[number - 1] = b"\0"
            body.remove(function)
            if not body:
                lines[first - 1] = b" " * function.col_offset + b"pass"
    return b"\n".join(line for line in lines if line != b"\0")


def _find(
    tree: ast.Module, name: str
) -> Iterable[tuple[list[ast.stmt], ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The functions of that name, each with the block it stands in."""
    *classes, function = name.split("::")
    blocks = [tree.body]
    for wanted in classes:
        nested = (s for body in blocks for s in body if isinstance(s, ast.ClassDef) and s.name == wanted)
        blocks = [node.body for node in nested]
    for body in blocks:
        for statement in list(body):
            if isinstance(statement, FUNCTIONS) and statement.name == function:
                yield body, statement
