"""The test tool, on a real run in the sandbox."""

from __future__ import annotations

from tests.tools.calling import OpenContext, call

TESTS = """\
from calc import add


def test_add():
    assert add(1, 2) == 3


def test_ok():
    pass
"""
FILES = {"calc.py": "def add(a, b):\n    return a - b\n", "test_calc.py": TESTS}
MANY = """\
import pytest


@pytest.mark.parametrize("n", range(60))
def test_n(n):
    assert n < 0, "x" * 200
"""
UNIT = (
    "import unittest\n\n\nclass TestA(unittest.TestCase):\n    def test_a(self):\n        self.fail('no')\n"
)


async def test_it_names_counts_failures_error_and_frames(open_context: OpenContext) -> None:
    ctx = await open_context(FILES, test_command=["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"])

    result = await call(ctx, "test")

    assert not result.ok
    assert result.text.startswith("1 failed, 1 passed (exit code 1 after ")
    assert "Failing:\n  test_calc.py::test_add\n" in result.text
    assert "First error:\n  assert -1 == 3" in result.text
    assert "  test_calc.py:5 in test_add" in result.text
    assert result.text.rstrip().split("\n")[-1].startswith("1 failed, 1 passed in")
    assert result.data["report"]["failing"] == ["test_calc.py::test_add"]


async def test_a_green_run_is_short(open_context: OpenContext) -> None:
    ctx = await open_context(FILES)

    result = await call(ctx, "test", command="python -m pytest -q -p no:cacheprovider -k ok")

    assert result.ok
    assert result.text.startswith("1 passed (exit code 0 after ")
    assert "\n" not in result.text


async def test_a_runner_of_another_kind(open_context: OpenContext) -> None:
    ctx = await open_context({"test_u.py": UNIT})

    result = await call(ctx, "test", command="python -m unittest test_u")

    assert "  test_u.TestA.test_a" in result.text
    assert "AssertionError: no" in result.text


async def test_junit_xml_beside_a_mute_run_is_read(open_context: OpenContext) -> None:
    ctx = await open_context(FILES)
    command = "python -m pytest -q -p no:cacheprovider --junitxml=out/r.xml >/dev/null"

    first = await call(ctx, "test", command=command)
    stale = await call(ctx, "test", command="false --junitxml=out/r.xml")

    assert "Failing:\n  test_calc.py::test_add" in first.text
    assert first.text.startswith("1 failed, 1 passed")
    assert stale.data["report"]["failing"] == []


async def test_without_a_command_it_asks_for_one(open_context: OpenContext) -> None:
    ctx = await open_context(FILES)

    result = await call(ctx, "test")

    assert not result.ok
    assert "give `command`" in result.text


async def test_a_read_only_session_tests_a_copy(open_context: OpenContext) -> None:
    ctx = await open_context(FILES, read_only=True)

    result = await call(ctx, "test", command="echo changed > calc.py; cat calc.py; false")

    assert result.text.rstrip().endswith("changed")
    assert await ctx.workspace.read("calc.py") == FILES["calc.py"].encode()


async def test_the_command_runs_where_the_session_says(open_context: OpenContext) -> None:
    ctx = await open_context(
        {f"sub/{name}": text for name, text in FILES.items()},
        test_command=["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        test_cwd="sub",
    )

    result = await call(ctx, "test")

    assert "sub/test_calc.py:5 in test_add" in result.text


async def test_many_failures_are_bounded(open_context: OpenContext) -> None:
    ctx = await open_context({"test_n.py": MANY}, budget=4_000)

    result = await call(ctx, "test", command="python -m pytest -q -p no:cacheprovider")

    assert "… and 40 more" in result.text
    assert len(result.text) < 5_000
    assert "output id=o1" in result.text
