"""Where the model, reading the code as it stands, would have written something else."""

from __future__ import annotations

import ast
import io
import math
import tokenize
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from agent.search.bindings import chosen_names
from agent.search.localise import Suspect
from agent.search.units import is_docstring, parse, split_lines
from engine.request import BranchStart, ScoredToken

LEAST_PROBABILITY = 0.02
SUSPICION_WEIGHT = 2.0
"""Nats by which a line of half the suspiciousness falls behind, over ln 2."""
BOUND_PENALTY = 4.0
"""Nats: nobody can guess the name of a new variable; the line as a whole may still be one too early."""
SIGNATURE_PENALTY = 8.0
"""Nats: names, parameters and types of functions are what callers made them."""
STRING_PENALTY = 3.0
"""Nats: the words of a message surprise any model and are seldom the fault."""
NO_TEST_RAN_IT = 0.02
"""Suspiciousness of a line that no failing test ran, where the lines are known."""


@dataclass(frozen=True)
class Point:
    """One place of a suspect's text, and another token that the model finds likely there."""

    start: BranchStart
    offset: int
    """Characters into the suspect's text."""
    text: str
    """The other token's text."""
    line: int
    """Line in the file."""
    gap: float
    """ln P(other) - ln P(the token that stands there)."""
    score: float
    """The gap with what coverage says of the line; higher is tried first."""


@dataclass(frozen=True)
class Region:
    """A suspect's text with what must be known to read the model's scores of it."""

    suspect: Suspect
    text: str
    following: str
    """The start of what comes after it, sent along so that the model says whether the end is the end."""
    silent: tuple[tuple[int, int], ...]
    """Spans of comments and docstrings."""
    strings: tuple[tuple[int, int], ...]
    signatures: tuple[tuple[int, int], ...]
    """Spans of `def` headers, without defaults, and of names of classes."""
    bound: tuple[tuple[int, int], ...]
    """Spans of names where they are bound for the first time."""
    line_starts: tuple[int, ...]

    def line_at(self, offset: int) -> int:
        """Line in the file (1-based) of a character of `text`."""
        return self.suspect.start_line + bisect_right(self.line_starts, offset) - 1

    @property
    def sent(self) -> str:
        return self.text + self.following


def region(source: str, suspect: Suspect) -> Region:
    lines = split_lines(source)
    first, last = suspect.start_line - 1, suspect.end_line
    text = "".join(lines[first:last])
    if not text.endswith("\n"):
        text += "\n"
    base = sum(len(line) for line in lines[:first])
    silent, strings = _quiet_spans(source, lines)
    signatures, bound = chosen_names(source)
    starts = [0]
    for line in lines[first : last - 1]:
        starts.append(starts[-1] + len(line))

    def inside(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        return tuple((a - base, b - base) for a, b in spans if base <= a < base + len(text))

    return Region(
        suspect,
        text,
        _following(lines[last:]),
        silent=inside(silent),
        strings=inside(strings),
        signatures=inside(signatures),
        bound=inside(bound),
        line_starts=tuple(starts),
    )


def _following(rest: Sequence[str]) -> str:
    blank = ""
    for line in rest:
        if line.strip():
            word = line.split()[0]
            return blank + line[: len(line) - len(line.lstrip())] + word
        blank += line
    return "\n\ndef"


def points(scored: Sequence[ScoredToken], where: Region) -> list[Point]:
    """Every (place, likely other token), best first."""
    found: list[Point] = []
    for token in scored:
        if token.start >= len(where.text):
            break
        standing = where.sent[token.start : token.end]
        visible = token.start + len(standing) - len(standing.lstrip())
        at = visible if visible < token.end else token.start
        if _within(where.silent, at):
            continue
        line = where.line_at(min(at, len(where.text) - 1))
        for other in token.alternatives:
            if other.logprob < math.log(LEAST_PROBABILITY) or _says_nothing(standing, other.text):
                continue
            gap = other.logprob - token.logprob
            score = gap + SUSPICION_WEIGHT * math.log(_suspicion(where.suspect, line))
            score -= _penalty(where, at, token.start, other.text)
            start = BranchStart(index=token.index, token_id=other.token_id)
            found.append(Point(start, token.start, other.text, line, gap, score))
    return sorted(found, key=lambda p: (-p.score, p.offset, p.start.token_id))


def _penalty(where: Region, at: int, start: int, other: str) -> float:
    """For places where a surprise says little: words of texts, and names that are chosen there."""
    longer_name = other[:1].isalnum() or other[:1] == "_"
    if _within(where.signatures, at) or (longer_name and any(end == start for _, end in where.signatures)):
        return SIGNATURE_PENALTY
    if _within(where.bound, at) or (longer_name and any(end == start for _, end in where.bound)):
        return BOUND_PENALTY
    return STRING_PENALTY if _within(where.strings, at) else 0.0


def _says_nothing(standing: str, other: str) -> bool:
    """Only a comment, or another amount of empty lines."""
    if other.lstrip().startswith(("#", '"""', "'''")) or not other:
        return True
    if "\n" in standing and not standing.strip() and not other.strip():
        return other.count("\n") >= 1 and not _ends_block(standing, other)
    return standing == other


def _ends_block(standing: str, other: str) -> bool:
    """Empty lines stand here and the model would go on at the next line: something may be missing."""
    return standing.count("\n") > 1 and other.count("\n") == 1


def _suspicion(suspect: Suspect, line: int) -> float:
    if not suspect.line_scores:
        return 1.0
    return max(suspect.line_scores.get(line, 0.0), NO_TEST_RAN_IT)


def _within(spans: Sequence[tuple[int, int]], offset: int) -> bool:
    return any(start <= offset < end for start, end in spans)


def _quiet_spans(source: str, lines: Sequence[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Character spans of (comments and docstrings, other strings); none where the file cannot be read."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    silent: list[tuple[int, int]] = []
    strings: list[tuple[int, int]] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline="\n").readline):
            span = (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
            if token.type == tokenize.COMMENT:
                silent.append(span)
            elif token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
                strings.append(span)
    except (tokenize.TokenError, SyntaxError, IndexError):
        return silent, strings
    documented = _docstring_lines(source)
    for span in list(strings):
        if bisect_right(starts, span[0]) in documented:
            strings.remove(span)
            silent.append(span)
    return silent, strings


def _docstring_lines(source: str) -> set[int]:
    tree = parse(source)
    if tree is None:
        return set()
    return {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Expr) and is_docstring(node)}
