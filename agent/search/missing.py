"""Names that the failing run says nothing binds: a line that should bind them is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.search.batch import Batch, SearchEngine
from agent.search.candidates import Edit, Sieve
from agent.search.localise import Suspect
from agent.search.prefix import prefix
from agent.search.units import parse, split_lines, statement_starts
from engine.errors import ContextOverflow
from engine.request import BranchRequest, BranchStart, ScoreRequest

STANDING = " None"
"""Stands for the value while the model is asked what it would write there."""
MOST_NAMES = 3
MOST_PLACES = 6
VALUES = 4
LEAST_LOGPROB = -5.0
LINE_TOKENS = 40

_NAME = re.compile(
    r"NameError: (?:name|cannot access free variable) '(\w+)'"
    r"|UnboundLocalError: (?:cannot access local variable|local variable) '(\w+)'"
)
_ATTRIBUTE = re.compile(r"AttributeError: '(\w+)' object has no attribute '(\w+)'")


@dataclass(frozen=True)
class Gap:
    """`target` (a name, or `self.attribute`) should be bound before one of these lines of the suspect."""

    suspect: Suspect
    target: str
    lines: tuple[int, ...]


def unbound(output: str) -> list[str]:
    """Names, and `Class.attribute`, that errors in an output call unbound; each once, in order."""
    found: dict[str, None] = {}
    for line in output.split("\n"):
        if match := _NAME.search(line):
            found[match[1] or match[2]] = None
        elif match := _ATTRIBUTE.search(line):
            found[f"{match[1]}.{match[2]}"] = None
    return list(found)[:MOST_NAMES]


def gaps(output: str, suspects: Sequence[Suspect], sources: Mapping[str, str]) -> Iterator[Gap]:
    """Where a binding may be missing: before the first use of the name, the nearest line first."""
    for name in unbound(output):
        owner, _, attribute = name.rpartition(".")
        for suspect in suspects:
            source = sources[suspect.file]
            starts = statement_starts(source, suspect.start_line, suspect.end_line)
            if owner:
                if suspect.name.endswith(f"{owner}.__init__") or suspect.name == f"{owner}.__init__":
                    yield Gap(suspect, f"self.{attribute}", (*starts[::-1][:MOST_PLACES],))
                continue
            lines = split_lines(source)
            word = re.compile(rf"(?<![\w.]){re.escape(name)}\b")
            used = [line for line in starts if word.search(lines[line - 1])]
            if used:
                before = [line for line in starts if line <= used[0]]
                yield Gap(suspect, name, tuple(before[::-1][:MOST_PLACES]))


def imports(output: str, suspects: Sequence[Suspect], sieves: Mapping[str, Sieve]) -> list[Edit]:
    """The import of a standard module whose name is used and not bound."""
    found: list[Edit] = []
    for name in unbound(output):
        if name not in sys.stdlib_module_names:
            continue
        for file in dict.fromkeys(suspect.file for suspect in suspects):
            source = sieves[file].source
            tree = parse(source)
            if tree is None or not re.search(rf"\b{name}\.", source):
                continue
            lines = split_lines(source)
            at = next((n.lineno for n in tree.body[1:] if "__future__" not in lines[n.lineno - 1]), 1)
            edit = sieves[file].admit("".join([*lines[: at - 1], f"import {name}\n", *lines[at - 1 :]]), 0.0)
            if edit is not None:
                found.append(edit)
    return found


async def propose_bindings(
    engine: SearchEngine,
    output: str,
    suspects: Sequence[Suspect],
    sources: Mapping[str, str],
    tests: Sequence[str],
    sieves: Mapping[str, Sieve],
) -> AsyncGenerator[Batch, None]:
    """One batch for each place: the model is given `name =` there and says which values it expects."""
    brought = imports(output, suspects, sieves)
    if brought:
        yield Batch(brought)
    for gap in gaps(output, suspects, sources):
        source = sources[gap.suspect.file]
        before = prefix(gap.suspect.file, source, gap.suspect, tests)
        for line in gap.lines:
            try:
                batch = await _bind(engine, source, before, gap, line, sieves[gap.suspect.file])
            except ContextOverflow:
                break
            yield batch


async def _bind(engine: SearchEngine, source: str, before: str, gap: Gap, line: int, sieve: Sieve) -> Batch:
    lines = split_lines(source)
    indent = re.match(r"[ \t]*", lines[line - 1])
    head = "".join(lines[gap.suspect.start_line - 1 : line - 1])
    opening = f"{indent[0] if indent else ''}{gap.target} ="
    text = head + opening + STANDING
    scored = await engine.score(ScoreRequest(prefix=before, text=text, top=VALUES))
    if not scored:
        return Batch([])
    place = scored[-1]
    likely = [other for other in place.alternatives if other.logprob >= LEAST_LOGPROB and other.text.strip()]
    starts = tuple(BranchStart(index=place.index, token_id=other.token_id) for other in likely)
    kept = text[len(head) : place.start]
    found = [(text[place.start :], place.logprob, 0)]
    if starts:
        request = BranchRequest(prefix=before, text=text, starts=starts, stop=("\n",), max_tokens=LINE_TOKENS)
        found += [(answer.text, answer.logprob, answer.tokens) for answer in await engine.branch(request)]
    whole_head, rest = "".join(lines[: line - 1]), "".join(lines[line - 1 :])
    edits: list[Edit] = []
    for value, logprob, _tokens in found:
        edit = sieve.admit(f"{whole_head}{kept}{value}\n{rest}", logprob)
        if edit is not None:
            edits.append(replace(edit, score=logprob))
    edits.sort(key=lambda edit: -edit.score)
    return Batch(edits, len(starts), sum(tokens for _, _, tokens in found))
