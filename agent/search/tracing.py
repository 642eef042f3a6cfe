"""One run of the command under the line tracer: how often failing and passing tests ran each line."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from agent.search import line_tracer
from agent.search.line_tracer import MARKER
from agent.search.selection import QUIET, PytestCommand, is_unittest
from sandbox import Completed, Workspace

PLUGIN = "ostro_line_tracer"
MOST_BYTES = 64 << 20
"""The repository's own output could hold a marker too: what it unpacks to is bounded."""

_SITECUSTOMIZE = f"""\
import importlib.machinery, importlib.util, os, sys
import {PLUGIN}
{PLUGIN}.start_process()
_here = os.path.dirname(os.path.abspath(__file__))
_rest = [p for p in sys.path if os.path.abspath(p or ".") != _here]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _rest)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
"""


class LineCounts(BaseModel):
    """How many failing and passing tests ran each line of the repository's files."""

    failed: int = 0
    passed: int = 0
    lines: dict[str, list[tuple[int, int, int]]] = {}
    """File to (line, failing tests, passing tests), for lines that a failing test ran."""
    imported: dict[str, list[int]] = {}
    """Lines that ran outside any test: module level code, at import."""


async def trace(
    workspace: Workspace,
    command: Sequence[str],
    *,
    selected: Sequence[str],
    failing: Sequence[str],
    pytest: PytestCommand | None,
    seconds: float,
    cwd: str = ".",
) -> LineCounts | None:
    """Runs the command's `selected` tests (all of it where it is not pytest) with the tracer in it.

    None where nothing could be traced: another language, an isolated interpreter, a crash.
    """
    ours = {f"{PLUGIN}.py": Path(line_tracer.__file__).read_bytes()}
    env = {
        **QUIET,
        "OSTRO_TRACE_ROOT": str(workspace.root),
        "OSTRO_TRACE_SECONDS": f"{seconds:.1f}",
        "OSTRO_TRACE_FIRST": json.dumps(list(failing)),
    }
    if pytest is not None:
        argv = pytest.select(selected)
        env["PYTEST_ADDOPTS"] = f"-p {PLUGIN}"
    else:
        argv = list(command)
        ours["sitecustomize.py"] = _SITECUSTOMIZE.encode()
        if is_unittest(command):
            env["OSTRO_TRACE_UNITTEST"] = "1"
    # A folder for each set of files: a test run by pytest has no use for our `sitecustomize`.
    lent = [workspace.lend(f"tracer-of-{len(ours)}/{name}", content) for name, content in ours.items()]
    env["PYTHONPATH"] = await _python_path(workspace, lent[0].parent)
    completed = await workspace.run(argv, cwd=cwd, env=env, seconds=seconds + 5)
    return parse_trace(completed)


async def _python_path(workspace: Workspace, folder: Path) -> str:
    """Ours before what the user's environment has, if it has any."""
    present = await workspace.run(["printenv", "PYTHONPATH"])
    theirs = present.output.strip() if present.exit_code == 0 else ""
    return f"{folder}:{theirs}" if theirs else str(folder)


def parse_trace(completed: Completed) -> LineCounts | None:
    """The counts of every process that told some (workers of a parallel runner tell their own)."""
    total = LineCounts()
    parts = completed.output.split(MARKER)[1::2]
    for part in parts:
        try:
            unpacked = zlib.decompressobj().decompress(base64.b64decode(part.strip()), MOST_BYTES)
            found = LineCounts.model_validate_json(unpacked)
        except (ValidationError, ValueError, zlib.error, binascii.Error):
            continue
        total = _sum(total, found)
    return total if total.lines or total.imported else None


def _sum(a: LineCounts, b: LineCounts) -> LineCounts:
    lines: dict[str, dict[int, tuple[int, int]]] = {}
    for counts in (a, b):
        for file, rows in counts.lines.items():
            of_file = lines.setdefault(file, {})
            for line, failed, passed in rows:
                before = of_file.get(line, (0, 0))
                of_file[line] = (before[0] + failed, before[1] + passed)
    imported = {file: set(numbers) for file, numbers in a.imported.items()}
    for file, numbers in b.imported.items():
        imported.setdefault(file, set()).update(numbers)
    return LineCounts(
        failed=a.failed + b.failed,
        passed=a.passed + b.passed,
        lines={file: [(n, *pair) for n, pair in sorted(rows.items())] for file, rows in lines.items()},
        imported={file: sorted(numbers) for file, numbers in imported.items()},
    )
