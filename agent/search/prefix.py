"""The text before a suspect's code: it says that what follows is right, and shows what tests ask of it."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from agent.search.localise import Suspect
from agent.search.units import first_line, is_docstring, parse, split_lines
from tools.plain_text import printable

MOST_TEST_LINES = 60
MOST_HEAD_LINES = 40


def prefix(file: str, source: str, suspect: Suspect, tests: Sequence[str] = ()) -> str:
    """`tests`: the source of failing tests, the most telling first; they are cut to MOST_TEST_LINES."""
    parts: list[str] = []
    room = MOST_TEST_LINES
    for test in tests:
        lines = test.rstrip().split("\n")
        if len(lines) > room:
            break
        room -= len(lines)
        parts.append("\n".join(lines))
    shown = "\n\n\n".join(parts)
    if shown:
        shown = f"# The tests, which all pass.\n{shown}\n\n\n"
    return f"{shown}# {printable(file)}: the correct, well-tested implementation.\n{_head(source, suspect)}"


def _head(source: str, suspect: Suspect) -> str:
    """The module's docstring, imports and constants, and the class around the suspect with its `__init__`."""
    tree = parse(source)
    lines = split_lines(source)
    if tree is None:
        return ""
    used = _names(lines[suspect.start_line - 1 : suspect.end_line])
    kept: list[str] = []
    for node in tree.body:
        if first_line(node) >= suspect.start_line or len(kept) >= MOST_HEAD_LINES:
            break
        if isinstance(node, ast.Import | ast.ImportFrom) or is_docstring(node) or _binds(node, used):
            kept.extend(lines[first_line(node) - 1 : node.end_lineno])
    if kept:
        kept.append("\n\n")
    body: Sequence[ast.stmt] = tree.body
    for header in suspect.classes:
        owner = next((n for n in body if isinstance(n, ast.ClassDef) and n.lineno == header), None)
        if owner is None:
            break
        kept.extend(_class_head(owner, suspect, lines))
        body = owner.body
    return "".join(kept)


def _binds(node: ast.stmt, used: set[str]) -> bool:
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id in used for target in targets)


def _class_head(owner: ast.ClassDef, suspect: Suspect, lines: list[str]) -> list[str]:
    kept = lines[first_line(owner) - 1 : first_line(owner.body[0]) - 1]
    for node in owner.body:
        if first_line(node) >= suspect.start_line:
            break
        method = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not method or node.name == "__init__":
            kept.extend(lines[first_line(node) - 1 : node.end_lineno])
            kept.append("\n")
    return kept


def _names(lines: Sequence[str]) -> set[str]:
    words: set[str] = set()
    for line in lines:
        word = ""
        for character in line + " ":
            if character.isalnum() or character == "_":
                word += character
                continue
            if word:
                words.add(word)
            word = ""
    return words
