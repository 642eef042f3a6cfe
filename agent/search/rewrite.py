"""The next rung: the chat model writes a suspect function anew, and the tests judge that."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.context import fence_of
from agent.prompts import prompt
from agent.search.candidates import Edit, Sieve
from agent.search.case import Case
from agent.search.localise import Suspect
from agent.search.prefix import prefix
from agent.search.units import first_line, parse, split_lines, units
from engine.request import ChatRequest, Effort, Message, Sampling
from tools.plain_text import plain, printable

_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
ANSWER = 1200
"""Tokens."""
SHOWN_OUTPUT = 2000
"""Characters of the failing run."""
TEMPERATURE = 0.6


@dataclass(frozen=True)
class Attempt:
    suspect: Suspect
    effort: Effort
    temperature: float
    seed: int


def attempts(suspects: Sequence[Suspect], seed: int, *, most: int = 2, samples: int = 2) -> Iterator[Attempt]:
    """Greedy on the likeliest functions, then samples, then samples with reasoning."""
    chosen = [suspect for suspect in suspects if not suspect.name.endswith(">")][:most]
    for suspect in chosen:
        yield Attempt(suspect, Effort.NONE, 0.0, seed)
    for number in range(samples):
        for suspect in chosen:
            yield Attempt(suspect, Effort.NONE, TEMPERATURE, seed + 1 + number)
    for suspect in chosen:
        yield Attempt(suspect, Effort.HIGH, TEMPERATURE, seed)


def request(case: Case, attempt: Attempt) -> ChatRequest:
    """Asks for one function, with the failing tests and their output."""
    suspect = attempt.suspect
    source = case.sources[suspect.file]
    lines = split_lines(source)
    code = "".join(lines[suspect.start_line - 1 : suspect.end_line])
    shown = {
        "head": prefix(suspect.file, source, suspect).partition("\n")[2].rstrip(),
        "code": code.rstrip(),
        "tests": "\n\n".join(case.tests[:2])[:SHOWN_OUTPUT],
        "output": _relevant(case.output),
    }
    text = prompt(
        "search_rewrite",
        file=printable(suspect.file),
        function=suspect.name,
        fence=fence_of(*shown.values()),
        **shown,
    )
    return ChatRequest(
        messages=(Message(role="user", content=text),),
        effort=attempt.effort,
        max_tokens=ANSWER + (1024 if attempt.effort is Effort.HIGH else 0),
        sampling=Sampling(temperature=attempt.temperature, top_p=0.95, seed=attempt.seed),
    )


def edit_from_answer(answer: str, suspect: Suspect, sieve: Sieve) -> Edit | None:
    """The answer's function in the place of the suspect; None where it holds none that helps."""
    wanted = suspect.name.rpartition(".")[2]
    for block in [*_FENCE.findall(answer), answer]:
        block = textwrap.dedent(block)
        tree = parse(block)
        found = _function(tree, wanted) if tree is not None else None
        if tree is None or found is None:
            continue
        new = splice(sieve.source, suspect, block, found)
        new = _with_imports(new, sieve.source, block, tree)
        edit = sieve.admit(new, 0.0) if new is not None else None
        if edit is not None:
            return edit
    return None


def splice(source: str, suspect: Suspect, block: str, found: ast.stmt) -> str | None:
    """`found`, a function of `block`, indented like the suspect and put in its place."""
    unit = next((u for u in units(source) if (u.name, u.start) == (suspect.name, suspect.start_line)), None)
    if unit is None:
        return None
    lines = split_lines(source)
    indent = re.match(r"[ \t]*", lines[unit.start - 1])
    body = "".join(split_lines(block)[first_line(found) - 1 : found.end_lineno])
    body = textwrap.indent(textwrap.dedent(body).rstrip() + "\n", indent[0] if indent else "")
    old_has_decorators = lines[unit.start - 1].lstrip().startswith("@")
    start = unit.start
    if old_has_decorators and not body.lstrip().startswith("@"):
        while lines[start - 1].lstrip()[:1] not in ("d", "a"):
            start += 1
    return "".join(lines[: start - 1]) + body + "".join(lines[unit.end :])


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node
    return None


def _with_imports(new: str | None, source: str, block: str, tree: ast.Module) -> str | None:
    """Puts imports that the answer brings along, and the file does not have, before its first import."""
    if new is None:
        return None
    present = {line.strip() for line in source.split("\n")}
    lines = split_lines(block)
    fresh = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = "".join(lines[node.lineno - 1 : node.end_lineno]).strip()
            if text not in present and "\n" not in text:
                fresh.append(text + "\n")
    whole = parse(new)
    if not fresh or whole is None:
        return new
    anchor = next(
        (
            node.lineno
            for node in whole.body
            if isinstance(node, ast.Import)
            or (isinstance(node, ast.ImportFrom) and node.module != "__future__")
        ),
        None,
    )
    if anchor is None:
        anchor = next((first_line(n) for n in whole.body if isinstance(n, ast.FunctionDef | ast.ClassDef)), 1)
        fresh.append("\n\n")
    rows = split_lines(new)
    return "".join(rows[: anchor - 1] + fresh + rows[anchor - 1 :])


def _relevant(output: str) -> str:
    """The end of the failing run: that is where runners put the reason."""
    text = plain(output).rstrip()
    return text if len(text) <= SHOWN_OUTPUT else "[...]\n" + text[-SHOWN_OUTPUT:].partition("\n")[2]
