"""The tracer in the real sandbox, under the Python that runs these tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from agent.search.selection import pytest_command
from agent.search.tracing import LineCounts, trace
from sandbox import Completed, Sandbox
from tests.conftest import GitRepo

CALC = """\
RATE = 2


def double(x):
    if x > 10:
        return x * RATE + 1
    return x * RATE


def unused():
    return 0
"""
TESTS = """\
import calc


def test_small():
    assert calc.double(2) == 4


def test_large():
    assert calc.double(20) == 40
"""


async def counted(
    repo, command: list[str], *, failing: Sequence[str] = (), seconds: float = 20
) -> LineCounts | None:
    sandbox = await Sandbox.open(repo)
    try:
        return await trace(
            sandbox.workspace,
            command,
            selected=[],
            failing=failing,
            pytest=pytest_command(command),
            seconds=seconds,
        )
    finally:
        await sandbox.close()


async def test_lines_by_failing_and_passing_tests(git_repo: GitRepo):
    repo = git_repo({"calc.py": CALC, "test_calc.py": TESTS})

    counts = await counted(repo, ["python", "-m", "pytest", "-q"])

    assert counts is not None and (counts.failed, counts.passed) == (1, 1)
    assert counts.lines["calc.py"] == [(5, 1, 1), (6, 1, 0)], "only what the failing test ran"
    assert {1, 4, 10} <= set(counts.imported["calc.py"])


async def test_unittest_tests_are_told_apart(git_repo: GitRepo):
    cases = (
        "import unittest\nimport calc\n\nclass Case(unittest.TestCase):\n"
        "    def test_a(self):\n        self.assertEqual(calc.double(2), 4)\n"
        "    def test_b(self):\n        self.assertEqual(calc.double(20), 40)\n"
    )
    repo = git_repo({"calc.py": CALC, "test_calc.py": cases})

    counts = await counted(repo, ["python", "-m", "unittest", "-q"])

    assert counts is not None and (counts.failed, counts.passed) == (1, 1)
    assert (6, 1, 0) in counts.lines["calc.py"] and (5, 1, 1) in counts.lines["calc.py"]


async def test_any_other_python_command_is_one_failing_test(git_repo: GitRepo):
    repo = git_repo({"calc.py": CALC, "check.py": "import calc\nassert calc.double(20) == 40\n"})

    counts = await counted(repo, ["python", "check.py"])

    assert counts is not None and (counts.failed, counts.passed) == (1, 0)
    assert (6, 1, 0) in counts.lines["calc.py"]


async def test_a_sitecustomize_of_the_users_own_still_runs(git_repo: GitRepo, tmp_path, monkeypatch):
    repo = git_repo({
        "calc.py": CALC,
        "site/sitecustomize.py": "import builtins\nbuiltins.SEEN = 20\n",
        "check.py": "import calc\nassert calc.double(SEEN) == 40\n",
    })  # fmt: skip
    counts = await counted(repo, ["env", f"PYTHONPATH={repo}/site", "python", "check.py"])
    assert counts is None, "a PYTHONPATH of the command's own keeps the tracer out"


async def test_a_hanging_test_is_counted_as_failing(git_repo: GitRepo):
    repo = git_repo({
        "loop.py": "def spin(n):\n    while n:\n        n = n\n",
        "test_loop.py": (
            "from loop import spin\n\ndef test_ok():\n    spin(0)\n\ndef test_spin():\n    spin(1)\n"
        ),
    })  # fmt: skip

    counts = await counted(repo, ["python", "-m", "pytest", "-q"], seconds=2)

    assert counts is not None and (counts.failed, counts.passed) == (1, 1)
    assert (3, 1, 0) in counts.lines["loop.py"]


async def test_failing_tests_run_first(git_repo: GitRepo):
    tests = (
        "import time\nimport calc\n\ndef test_slow():\n    time.sleep(3)\n\n" + TESTS.partition("\n\n\n")[2]
    )
    repo = git_repo({"calc.py": CALC, "test_calc.py": tests})

    counts = await counted(
        repo, ["python", "-m", "pytest"], failing=["test_calc.py::test_large"], seconds=2.5
    )

    assert counts is not None and counts.failed >= 1
    assert (6, 1, 0) in counts.lines["calc.py"]


async def test_a_command_without_python_traces_nothing(git_repo: GitRepo):
    assert await counted(git_repo({"a": "x"}), ["false"]) is None


def test_broken_and_hostile_output_is_no_trace():
    from agent.search.line_tracer import MARKER
    from agent.search.tracing import parse_trace

    output = f"{MARKER}AAAA{MARKER}\n{MARKER}%%%{MARKER} {MARKER}"
    completed = Completed(
        argv=("x",), exit_code=1, output=output, seconds=0.1, timed_out=False, output_cut=False
    )
    assert parse_trace(completed) is None


def test_the_tracer_has_no_syntax_that_python_3_8_lacks():
    import ast
    from pathlib import Path

    from agent.search import line_tracer

    ast.parse(Path(line_tracer.__file__).read_text(), feature_version=(3, 8))
    subprocess.run([sys.executable, "-I", line_tracer.__file__], check=True)
