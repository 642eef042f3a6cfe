"""Tries an edit in a fork: the failing tests first, then the whole command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from agent.search.candidates import Edit
from agent.search.selection import QUIET
from sandbox import Completed, FileProblem, Workspace
from tools.pytest_report import TestReport, parse_report

Verdict = Literal["passed", "failed", "broken", "timeout"]
LEAST_SECONDS = 4.0
PATIENCE = 3.0
"""A candidate may take so many times what the failing tests took."""


@dataclass(frozen=True)
class Judge:
    """How to tell whether an edit repairs: a quick selection that fails now, and the whole command."""

    command: tuple[str, ...]
    quick: tuple[str, ...]
    """The failing tests alone, stopping at the first; the command itself where there is no such selection."""
    quick_seconds: float
    command_seconds: float
    passing: int | None = None
    """Tests of the whole command that passed before the repair; a repair may not lose any."""
    counts: bool = False
    """Whether the command says how many tests passed, as pytest mostly does."""
    cwd: str = "."
    """Where the command runs, relative to the root of the workspace."""

    def limit(self, whole: bool) -> float:
        return max(LEAST_SECONDS, PATIENCE * (self.command_seconds if whole else self.quick_seconds))


@dataclass(frozen=True)
class Trial:
    edit: Edit
    verdict: Verdict
    report: TestReport
    completed: Completed


@dataclass
class Bench:
    """A fork, and which of its files differs from the workspace."""

    fork: Workspace
    dirty: dict[str, bytes] = field(default_factory=dict)

    async def put(self, file: str, source: str, original: bytes) -> None:
        for other, data in list(self.dirty.items()):
            if other != file:
                await self.fork.write(other, data)
                del self.dirty[other]
        if file not in self.dirty:
            await drop_bytecode(self.fork, file)
        self.dirty[file] = original
        await self.fork.write(file, encode(source, original))


class Trials:
    """Runs edits in a few forks side by side."""

    def __init__(self, judge: Judge, originals: dict[str, bytes], forks: Sequence[Workspace]) -> None:
        self.judge = judge
        self._originals = originals
        self._free: asyncio.Queue[Bench] = asyncio.Queue()
        self._forks = list(forks)
        for fork in forks:
            self._free.put_nowait(Bench(fork))

    @property
    def width(self) -> int:
        return len(self._forks)

    async def run(self, edit: Edit) -> Trial:
        """What the tests say of this edit alone."""
        bench = await self._free.get()
        try:
            await bench.put(edit.file, edit.source, self._originals[edit.file])
            completed = await bench.fork.run(
                self.judge.quick, cwd=self.judge.cwd, env=QUIET, seconds=self.judge.limit(whole=False)
            )
            trial = self._trial(edit, completed, whole=self.judge.quick == self.judge.command)
            if trial.verdict != "passed" or self.judge.quick == self.judge.command:
                return trial
            completed = await bench.fork.run(
                self.judge.command, cwd=self.judge.cwd, env=QUIET, seconds=self.judge.limit(whole=True)
            )
            return self._trial(edit, completed, whole=True)
        finally:
            self._free.put_nowait(bench)

    def _trial(self, edit: Edit, completed: Completed, *, whole: bool) -> Trial:
        report = parse_report(completed.output)
        return Trial(edit, verdict(completed, report, self.judge, whole=whole), report, completed)


def verdict(completed: Completed, report: TestReport, judge: Judge, *, whole: bool) -> Verdict:
    """An exit code of 0 counts only where the tests that should have run did run."""
    if completed.timed_out:
        return "timeout"
    if completed.exit_code == 0:
        if judge.counts and not report.passed:
            return "broken"
        lost = whole and judge.passing is not None and (report.passed or 0) < judge.passing
        return "broken" if lost else "passed"
    tests_ran = bool(report.failed) or (not judge.counts and completed.exit_code == 1)
    return "failed" if tests_ran else "broken"


async def drop_bytecode(workspace: Workspace, file: str) -> None:
    """Removes what Python kept of a file: an edit of the same size within a second would not show."""
    pure = PurePosixPath(file)
    cache = pure.parent / "__pycache__"
    try:
        entries = await workspace.listing(str(cache), ignored=True)
    except FileProblem:
        return
    for entry in entries:
        name = PurePosixPath(entry.path).name
        if name.startswith(f"{pure.stem}.") and name.endswith(".pyc"):
            await workspace.remove(str(cache / name))


def decode(data: bytes) -> str | None:
    """A source file's text with `\\n` ends; None for what is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


def encode(source: str, original: bytes) -> bytes:
    """The text as bytes, with the byte order mark and line ends of the file before it."""
    if b"\r\n" in original:
        source = source.replace("\n", "\r\n")
    mark = b"\xef\xbb\xbf" if original.startswith(b"\xef\xbb\xbf") else b""
    return mark + source.encode("utf-8", "surrogatepass")
