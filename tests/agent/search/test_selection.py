from __future__ import annotations

import pytest

from agent.search.selection import is_unittest, pytest_command, spread


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-m", "pytest", "-q", "-k", "not slow", "tests/unit", "--tb", "short", "tests/other.py"],
        ["pytest", "-q", "-k", "not slow", "tests/unit", "--tb", "short", "tests/other.py"],
        [
            "uv",
            "run",
            "pytest",
            "-q",
            "-k",
            "not slow",
            "--tb",
            "short",
            "--",
            "tests/unit",
            "tests/other.py",
        ],
    ],
)
def test_chosen_tests_take_the_place_of_the_paths(command: list[str]):
    parsed = pytest_command(command)
    assert parsed is not None and parsed.paths == ("tests/unit", "tests/other.py")

    chosen = parsed.select(["tests/unit/test_a.py::test_b"], stop_at_first=True)

    assert chosen[: len(parsed.head)] == list(parsed.head)
    assert chosen[len(parsed.head) :] == [
        "-q", "-k", "not slow", "--tb", "short", "-p", "no:cacheprovider", "-x",
        "tests/unit/test_a.py::test_b",
    ]  # fmt: skip


def test_options_of_the_cache_plugin_keep_it():
    parsed = pytest_command(["pytest", "--lf"])
    assert parsed is not None and parsed.select(["a.py"]) == ["pytest", "--lf", "a.py"]


@pytest.mark.parametrize(
    "command",
    [
        ["python", "check.py"],
        ["make", "test"],
        ["sh", "-c", "pytest -q"],
        ["python", "-m", "unittest"],
        ["tox"],
    ],
)
def test_other_commands_are_not_taken_apart(command: list[str]):
    assert pytest_command(command) is None


def test_unittest_is_known():
    assert is_unittest(["python", "-m", "unittest", "discover"])
    assert not is_unittest(["python", "unittest.py"])


def test_few_failing_tests_stand_for_many():
    failing = ["t.py::a[1]", "t.py::a[2]", "t.py::a[3]", "t.py::b", "t.py::c[1]", "t.py::c[2]"]
    assert spread(failing, 4) == ["t.py::a[1]", "t.py::b", "t.py::c[1]", "t.py::a[2]"]
    assert spread(failing, 99) and set(spread(failing, 99)) == set(failing)
    assert spread([], 4) == []
