"""Which functions to read: by coverage of failing and passing tests, the traceback, the names in tests."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from agent.search.protected import Protected
from agent.search.tracing import LineCounts
from agent.search.units import Unit, header_end, innermost_statement, parse, split_lines, units

TRACEBACK = 0.25
"""Added to the score of a function that stands in a traceback; the innermost gets it twice."""
NAMED = 0.15
"""Added to a function that the failing test itself names."""
IMPORTED = 0.3
"""Factor on module-level code that ran at import: every test, failing or not, comes after it."""
CALLED_AT_IMPORT = 0.6
"""The same for the body of a function that only ran at import (one that fills a table, say)."""


class FrameLike(Protocol):
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...


@dataclass(frozen=True)
class Suspect:
    """A stretch of one file that may hold the fault."""

    file: str
    name: str
    start_line: int
    end_line: int
    score: float
    line_scores: dict[int, float] = field(default_factory=dict)
    """Suspiciousness (0 to 1) by line, for the lines a failing test ran; empty: nothing is known by line."""
    classes: tuple[int, ...] = ()
    """Lines of the class headers around it."""


@dataclass(frozen=True)
class Evidence:
    """What is known about a failure, files relative to the repository."""

    counts: LineCounts | None = None
    frames: Sequence[FrameLike] = ()
    """Innermost last, as in a traceback."""
    names: frozenset[str] = frozenset()
    """Identifiers that the failing tests use."""


def ochiai(failed: int, passed: int, all_failed: int) -> float:
    """Suspiciousness of a line that so many failing and passing tests ran; 0 to 1."""
    if not failed or not all_failed:
        return 0.0
    return failed / math.sqrt(all_failed * (failed + passed))


def rank(sources: Mapping[str, str], evidence: Evidence, protected: Protected) -> list[Suspect]:
    """Suspects of these files, likeliest first; the order depends on nothing but the arguments."""
    found: list[Suspect] = []
    for file in sorted(sources):
        if not protected.covers(file):
            found.extend(_of_file(file, sources[file], evidence))
    return sorted(found, key=lambda s: (-s.score, s.end_line - s.start_line, s.file, s.start_line))


def files_to_read(evidence: Evidence, protected: Protected, listed: Iterable[str]) -> list[str]:
    """Python files that the evidence names and that may be changed, the most telling first."""
    known = set(listed)
    wanted: list[str] = [frame.file for frame in reversed(evidence.frames)]
    if evidence.counts is not None:
        by_weight = sorted(evidence.counts.lines.items(), key=lambda item: (-len(item[1]), item[0]))
        wanted += [file for file, _ in by_weight]
        wanted += sorted(evidence.counts.imported)
    unique = dict.fromkeys(file for file in wanted if file.endswith(".py") and file in known)
    return [file for file in unique if not protected.covers(file)]


def _of_file(file: str, source: str, evidence: Evidence) -> list[Suspect]:
    lines = _line_scores(file, evidence.counts)
    imported = set(evidence.counts.imported.get(file, ())) if evidence.counts else set()
    tree = parse(source)
    frames = [frame for frame in evidence.frames if frame.file == file]
    last = evidence.frames[-1] if evidence.frames else None
    found = []
    for unit in units(source):
        scores = {line: score for line, score in lines.items() if unit.holds(line)}
        if not scores:
            share = CALLED_AT_IMPORT if unit.is_function else IMPORTED
            at_import = share * _imported_score(evidence.counts)
            first = _body_start(unit, tree) if unit.is_function else unit.start
            scores = {line: at_import for line in imported if unit.holds(line) and line >= first}
        score = max(scores.values(), default=0.0)
        if any(unit.holds(frame.line) for frame in frames):
            score += TRACEBACK
        if last is not None and last.file == file and unit.holds(last.line):
            score += TRACEBACK
        if score == 0 and evidence.counts is not None and evidence.counts.lines:
            continue
        if unit.name.rpartition(".")[2] in evidence.names or unit.name in evidence.names:
            score += NAMED
        if score == 0:
            continue
        spread = _spread_over_statements(unit, scores, tree)
        found.append(Suspect(file, unit.name, unit.start, unit.end, score, spread, unit.classes))
    return found


def _line_scores(file: str, counts: LineCounts | None) -> dict[int, float]:
    if counts is None:
        return {}
    return {
        line: ochiai(failed, passed, counts.failed) for line, failed, passed in counts.lines.get(file, [])
    }


def _imported_score(counts: LineCounts | None) -> float:
    if counts is None:
        return 0.0
    failed = max(1, counts.failed)
    return ochiai(failed, counts.passed, failed)


def _body_start(unit: Unit, tree: ast.Module | None) -> int:
    """First line of a function's body: its header runs at import whether it is called or not."""
    for node in ast.walk(tree) if tree else ():
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and unit.start <= node.lineno <= unit.end == node.end_lineno:
            return node.body[0].lineno
    return unit.end + 1


def _spread_over_statements(
    unit: Unit, scores: Mapping[int, float], tree: ast.Module | None
) -> dict[int, float]:
    """Lines that hold no code of their own (the rest of a call, `else:`) take their statement's score."""
    if not scores or tree is None:
        return dict(scores)
    spread: dict[int, float] = {}
    for line in range(unit.start, unit.end + 1):
        if line in scores:
            spread[line] = scores[line]
            continue
        node = innermost_statement(tree, line)
        if node is None:
            continue
        header = range(node.lineno, header_end(node) + 1)
        score = max((scores.get(number, 0.0) for number in header), default=0.0)
        if line == unit.start and unit.is_function:
            score = max(score, max(scores.values()))
        if score:
            spread[line] = score
    return spread


def names_in_tests(source: str, functions: Iterable[str]) -> frozenset[str]:
    """Identifiers used in these functions of a test file (all of it where none is found by its name)."""
    tree = parse(source)
    if tree is None:
        return frozenset()
    wanted = set(functions)
    chosen: list[ast.AST] = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in wanted
    ]
    used: set[str] = set()
    for root in chosen or [tree]:
        for node in ast.walk(root):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
    return frozenset(used)


def imported_files(source: str, test_file: str, listed: Iterable[str]) -> list[str]:
    """Repository files that a test file's imports mean, by the longest module path that ends so."""
    tree = parse(source)
    if tree is None:
        return []
    modules: list[str] = []
    package = PurePosixPath(test_file).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join((*above, base)) if base else ".".join(above)
            modules.append(base)
            modules += [f"{base}.{alias.name}" for alias in node.names]
    files = sorted(path for path in listed if path.endswith(".py"))
    found: dict[str, None] = {}
    for module in modules:
        path = module.replace(".", "/")
        for ending in (f"{path}.py", f"{path}/__init__.py"):
            for file in files:
                if file == ending or file.endswith(f"/{ending}"):
                    found[file] = None
    return list(found)


def functions_by_file(node_ids: Iterable[str]) -> dict[str, list[str]]:
    """Test file to the names of the test functions of these node ids."""
    by_file: dict[str, list[str]] = {}
    for node_id in node_ids:
        file, *parts = node_id.split("[")[0].split("::")
        names = by_file.setdefault(file, [])
        if parts and parts[-1] not in names:
            names.append(parts[-1])
    return by_file


def source_of_function(source: str, name: str) -> str | None:
    """The text of the first function of this name, decorators included."""
    tree = parse(source)
    if tree is None:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "".join(split_lines(source)[start - 1 : node.end_lineno])
    return None
