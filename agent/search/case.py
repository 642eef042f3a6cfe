"""Gathers what is known about a failing command: suspects, the tests' own words, and how to judge an edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.search.localise import (
    Evidence,
    Suspect,
    files_to_read,
    functions_by_file,
    imported_files,
    names_in_tests,
    rank,
    source_of_function,
)
from agent.search.protected import Protected, command_scripts, files_of_tests, in_repository
from agent.search.selection import QUIET, PytestCommand, pytest_command, spread
from agent.search.tracing import LineCounts, trace
from agent.search.trial import Judge, decode
from sandbox import Completed, FileProblem, Workspace
from tools.pytest_report import TestReport, parse_report

MOST_TESTS = 8
"""Failing tests that judge a candidate first."""
MOST_TEST_FILES = 6
MOST_FILES = 40
LARGEST_FILE = 400_000
MOST_SUSPECTS = 24
MOST_TRACE_SECONDS = 60.0
MOST_TEST_SOURCES = 4


@dataclass(frozen=True)
class Case:
    suspects: list[Suspect]
    sources: dict[str, str]
    originals: dict[str, bytes]
    """The same files as they lie on the disk."""
    tests: list[str]
    """Source of failing tests, the first to fail first."""
    protected: Protected
    judge: Judge
    output: str
    """What the command printed."""


async def investigate(
    workspace: Workspace, fork: Workspace, command: Sequence[str], completed: Completed, cwd: str = "."
) -> Case:
    """Localises the fault of a failed run. Runs the tests (traced, and the failing ones alone) in `fork`.

    The command runs in `cwd`, and reports name test files as they are seen from there.
    """
    root = str(workspace.root)
    report = parse_report(completed.output, root=root, cwd=cwd)
    pytest = pytest_command(command)
    failing = spread(report.failing, MOST_TESTS)
    protected = Protected(command, files_of_tests(report.failing), root=root, cwd=cwd)
    listed = [
        entry.path
        for entry in await workspace.listing(recursive=True)
        if entry.kind == "file" and entry.path.endswith(".py") and entry.size <= LARGEST_FILE
    ]
    counts = await _counts(fork, command, failing, report, pytest, completed.seconds, cwd)
    scripts = {in_repository(path, root, cwd) for path in command_scripts(command)} & set(listed)
    in_root = [in_repository(file, root, cwd) + rest for file, rest in map(_split_id, failing)]
    tests, names, imported = await _read_tests(workspace, in_root, scripts, listed)
    evidence = Evidence(counts, _frames(report, protected), names)
    wanted = files_to_read(evidence, protected, listed)
    if counts is None or not counts.lines:
        wanted += [file for file in imported if file not in wanted and not protected.covers(file)]
    sources, originals = await _read_sources(workspace, wanted[:MOST_FILES])
    return Case(
        suspects=rank(sources, evidence, protected)[:MOST_SUSPECTS],
        sources=sources,
        originals=originals,
        tests=tests,
        protected=protected,
        judge=await _judge(fork, command, failing, report, pytest, completed, cwd),
        output=completed.output,
    )


async def _counts(
    fork: Workspace,
    command: Sequence[str],
    failing: Sequence[str],
    report: TestReport,
    pytest: PytestCommand | None,
    usual: float,
    cwd: str,
) -> LineCounts | None:
    files = list(dict.fromkeys(node_id.partition("::")[0] for node_id in failing))[:MOST_TEST_FILES]
    if pytest is not None and not files:
        return None
    seconds = min(MOST_TRACE_SECONDS, max(10.0, 4 * usual))
    return await trace(
        fork, command, selected=files, failing=report.failing[:50], pytest=pytest, seconds=seconds, cwd=cwd
    )


def _split_id(node_id: str) -> tuple[str, str]:
    """The file of a test's id, and the rest."""
    file, colons, rest = node_id.partition("::")
    return file, colons + rest


def _frames(report: TestReport, protected: Protected):
    """The first failure whose traceback leads into code that may be changed."""
    for failure in report.failures:
        frames = [frame for frame in failure.frames if not protected.covers(frame.file)]
        if frames:
            return frames
    return [frame for frame in report.frames if not protected.covers(frame.file)]


async def _read_tests(
    workspace: Workspace, failing: Sequence[str], scripts: set[str], listed: Sequence[str]
) -> tuple[list[str], frozenset[str], list[str]]:
    """(sources of failing tests, identifiers they use, repository files they import)."""
    sources: list[str] = []
    names: frozenset[str] = frozenset()
    imported: list[str] = []
    wanted = functions_by_file(failing)
    for script in sorted(scripts):
        wanted.setdefault(script, [])
    for file, functions in wanted.items():
        text = await _text(workspace, file)
        if text is None:
            continue
        names |= names_in_tests(text, functions)
        imported += imported_files(text, file, listed)
        shown = [source_of_function(text, function) for function in functions] or [text]
        sources += [source for source in shown if source is not None]
    return sources[:MOST_TEST_SOURCES], names, list(dict.fromkeys(imported))


async def _read_sources(
    workspace: Workspace, files: Sequence[str]
) -> tuple[dict[str, str], dict[str, bytes]]:
    sources: dict[str, str] = {}
    originals: dict[str, bytes] = {}
    for file in files:
        try:
            data = await workspace.read(file)
        except FileProblem:
            continue
        text = decode(data)
        if text is not None:
            sources[file], originals[file] = text, data
    return sources, originals


async def _text(workspace: Workspace, file: str) -> str | None:
    try:
        return decode(await workspace.read(file))
    except FileProblem:
        return None


async def _judge(
    fork: Workspace,
    command: Sequence[str],
    failing: Sequence[str],
    report: TestReport,
    pytest: PytestCommand | None,
    completed: Completed,
    cwd: str,
) -> Judge:
    """The selection is used only where it fails as the command does: else its passing would say nothing."""
    whole = tuple(command)
    quick, seconds = whole, completed.seconds
    if pytest is not None and failing:
        selected = tuple(pytest.select(failing, stop_at_first=True))
        alone = await fork.run(selected, cwd=cwd, env=QUIET, seconds=max(60.0, 2 * completed.seconds))
        found = parse_report(alone.output)
        hangs = alone.timed_out and completed.timed_out
        if hangs or (alone.exit_code in (1, 2) and found.failing):
            quick, seconds = selected, alone.seconds
    counts = pytest is not None and report.passed is not None
    return Judge(whole, quick, seconds, completed.seconds, report.passed, counts, cwd)
