from __future__ import annotations

import pytest

from agent.search.protected import Protected, command_scripts, files_of_tests

PYTEST = ["python", "-m", "pytest", "-q"]


@pytest.mark.parametrize(
    "path",
    [
        "test_a.py", "pkg/a_test.py", "tests/data.json", "pkg/tests/util.py", "conftest.py",
        "sub/conftest.py",
                "pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml",
        "sitecustomize.py", "x/usercustomize.py",
        "evil.pth", "pytest.py", "./tests/a.py",
    ],
)  # fmt: skip
def test_what_no_candidate_touches(path: str):
    assert Protected(PYTEST).covers(path)


@pytest.mark.parametrize("path", ["a.py", "pkg/latest.py", "pkg/testing.py", "contest/a.py", "pkg/attest.py"])
def test_what_a_candidate_may_touch(path: str):
    assert not Protected(PYTEST).covers(path)


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (["python", "check.py"], "check.py"),
        (["/usr/bin/python3.11", "-X", "dev", "-u", "tools/check.py", "calc.py"], "tools/check.py"),
        (["bash", "-e", "run.sh"], "run.sh"),
        (["./run"], "run"),
        (["python", "-m", "calc.check"], "calc/check.py"),
        (["sh", "-c", "python check.py && echo ok"], "check.py"),
        (["env", "A=1", "python", "check.py"], "check.py"),
        (["make", "test"], "Makefile"),
    ],
)
def test_the_commands_own_script(command: list[str], script: str):
    assert script in command_scripts(command)
    assert Protected(command).covers(script)
    assert not Protected(command).covers("calc.py")


def test_files_that_hold_the_failing_tests_whatever_their_name():
    ids = ["checks/check_a.py::test_x[a::b]", "pkg/calc.py::pkg.calc.add", "test_b.py::TestX::test_y"]
    assert files_of_tests(ids) == {"checks/check_a.py", "test_b.py"}, (
        "a module with doctests is code under test"
    )


def test_a_shared_configuration_counts_by_its_pytest_part():
    protected = Protected(PYTEST)
    before = b'[project]\nname = "a"\n[tool.pytest.ini_options]\naddopts = "-q"\n'

    assert not protected.violated("pyproject.toml", before, before.replace(b'"a"', b'"b"'))
    assert protected.violated("pyproject.toml", before, before.replace(b'"-q"', b'"-k nothing"'))
    assert protected.violated("pyproject.toml", None, before)
    assert protected.violated("pyproject.toml", before, b"not [ toml")
    assert not protected.violated("setup.cfg", b"[metadata]\nname = a\n", b"[metadata]\nname = b\n")
    assert protected.violated("setup.cfg", b"[tool:pytest]\na = 1\n", b"[tool:pytest]\na = 2\n")
    assert protected.violated("tests/test_a.py", b"a", b"b")
    assert not protected.violated("tests/test_a.py", b"a", b"a")
    assert not protected.violated("a.py", b"a", b"b")
