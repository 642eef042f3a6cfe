"""What real runs print, in many styles, and what is read from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.pytest_report import TestReport, parse_report

CALC = """\
def add(a, b):
    return a - b


class Box:
    def half(self, x):
        if x < 0:
            raise ValueError("negative - value")
        return x // 2


def outer(x):
    return Box().half(x)
"""
TESTS = """\
import pytest
from pkg.calc import Box, add, outer


def test_add():
    print("FAILED tests/nothing.py::test_fake - no")
    assert add(1, 2) == 3


@pytest.mark.parametrize("x", ["a - b", "c[1] d", "p::q"])
def test_names(x):
    assert x == "z"


class TestBox:
    def test_half(self):
        assert Box().half(4) == 2

    def test_deep(self):
        assert outer(-3) == 1


@pytest.fixture
def broken():
    raise RuntimeError("fixture broke")


def test_fixture(broken):
    pass


@pytest.mark.skip
def test_skipped():
    pass
"""
PROJECT = {"pkg/__init__.py": "", "pkg/calc.py": CALC, "tests/test_calc.py": TESTS}
FAILED = [
    "tests/test_calc.py::test_add",
    "tests/test_calc.py::test_names[a - b]",
    "tests/test_calc.py::test_names[c[1] d]",
    "tests/test_calc.py::test_names[p::q]",
    "tests/test_calc.py::TestBox::test_deep",
]
ERROR = "tests/test_calc.py::test_fixture"
DEEP = ["tests/test_calc.py:20 in test_deep", "pkg/calc.py:13 in outer", "pkg/calc.py:8 in half"]


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def run(root: Path, *argv: str, cwd: str = ".") -> str:
    """What `python ARGV` prints in `root`, by a plain pytest without third-party plugins."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=root / cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def report(root: Path, *options: str) -> TestReport:
    return parse_report(run(root, "-m", "pytest", "-p", "no:cacheprovider", *options), root=str(root))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("project"), PROJECT)


def frames_of(read: TestReport, name: str) -> list[str]:
    (failure,) = [failure for failure in read.failures if failure.name == name]
    return [str(frame) for frame in failure.frames]


@pytest.mark.parametrize(
    "options",
    [(), ("-q",), ("--tb=short", "-q"), ("--tb=native", "-v"), ("--tb=long", "--color=yes"), ("-q", "-ra")],
    ids=" ".join,
)
def test_every_traceback_style_tells_ids_counts_errors_and_frames(
    project: Path, options: tuple[str, ...]
) -> None:
    read = report(project, *options)

    assert read.runner == "pytest"
    assert sorted(read.failing) == sorted([*FAILED, ERROR])
    assert (read.passed, read.failed, read.errors, read.skipped) == (1, 5, 1, 1)
    assert read.first_error == "RuntimeError: fixture broke"
    assert [str(frame) for frame in read.frames] == ["tests/test_calc.py:25 in broken"]
    assert frames_of(read, "TestBox.test_deep") == DEEP
    (add,) = [failure for failure in read.failures if failure.name == "test_add"]
    assert "assert -1 == 3" in add.error
    assert not read.stopped and not read.collected_none


def test_one_line_tracebacks(project: Path) -> None:
    read = report(project, "--tb=line", "-q")

    assert read.failing == [*FAILED, ERROR]
    assert "ValueError: negative - value" in [failure.error for failure in read.failures]
    assert "pkg/calc.py:8" in [str(frame) for failure in read.failures for frame in failure.frames]


def test_no_tracebacks_leave_the_summary_lines(project: Path) -> None:
    read = report(project, "--tb=no", "-q")

    assert read.failing == [*FAILED, ERROR]
    assert read.first_error == "assert -1 == 3"
    assert read.frames == []


def test_very_quiet_runs_name_failures_without_counts(project: Path) -> None:
    read = report(project, "-qq")

    assert read.failing == [*FAILED, ERROR]
    assert read.passed is None and read.failed is None


def test_without_a_summary_ids_come_from_headings_and_frames(project: Path) -> None:
    read = report(project, "-q", "-rN")

    assert sorted(read.failing) == sorted([*FAILED, ERROR])


def test_a_verbose_run_cut_off_before_its_summary(project: Path) -> None:
    output = run(project, "-m", "pytest", "-v", "-p", "no:cacheprovider").split("= ERRORS =")[0]

    read = parse_report(output)

    assert read.failing == [*FAILED, ERROR]
    assert read.passed is None


def test_stopping_at_the_first_failure(project: Path) -> None:
    read = report(project, "-x", "-q")

    assert read.failing == FAILED[:1]
    assert read.failed == 1
    assert read.stopped == "stopping after 1 failures"


def test_paths_are_relative_to_the_repository_wherever_the_command_ran(project: Path) -> None:
    output = run(project, "-m", "pytest", "--rootdir=..", "-p", "no:cacheprovider", "-q", cwd="tests")

    read = parse_report(output, root=str(project), cwd="tests")

    assert set(read.failing) == {test_id.removeprefix("tests/") for test_id in [*FAILED, ERROR]}
    assert "tests/test_calc.py" in {frame.file for failure in read.failures for frame in failure.frames}


def test_a_module_that_cannot_be_imported(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "import nowhere\n", "test_a.py": "import pkg\n"}

    read = report(lay_out(tmp_path, files))

    assert read.failing == ["test_a.py"]
    assert read.errors == 1
    assert read.first_error == "ModuleNotFoundError: No module named 'nowhere'"
    assert [str(frame) for frame in read.frames] == [
        "test_a.py:1 in <module>",
        "pkg/__init__.py:1 in <module>",
    ]
    assert read.stopped == "Interrupted: 1 error during collection"


def test_a_syntax_error_in_the_code_is_a_frame(tmp_path: Path) -> None:
    read = report(lay_out(tmp_path, {"broken.py": "def f(:\n    pass\n", "test_a.py": "import broken\n"}))

    assert read.failing == ["test_a.py"]
    assert "SyntaxError" in read.first_error
    assert "broken.py:1 in <module>" in [str(frame) for frame in read.frames]


def test_a_broken_conftest(tmp_path: Path) -> None:
    read = report(lay_out(tmp_path, {"conftest.py": "import nowhere\n", "test_a.py": "def test_a(): pass\n"}))

    assert read.first_error == "ModuleNotFoundError: No module named 'nowhere'"
    assert [str(frame) for frame in read.frames] == ["conftest.py:1 in <module>"]


def test_no_tests_at_all(tmp_path: Path) -> None:
    read = report(lay_out(tmp_path, {"a.py": ""}))

    assert read.collected_none and read.failing == []
    assert read.counts() == "no tests were run"


def test_all_tests_deselected(project: Path) -> None:
    assert report(project, "-q", "-k", "absent").collected_none


def test_a_file_that_is_not_there(project: Path) -> None:
    read = report(project, "nowhere.py")

    assert read.collected_none
    assert "file or directory not found: nowhere.py" in read.first_error


def test_an_internal_error(tmp_path: Path) -> None:
    conftest = "def pytest_collection_finish(session):\n    raise RuntimeError('inside')\n"
    files = {"conftest.py": conftest, "test_a.py": "def test_a(): pass\n"}

    read = report(lay_out(tmp_path, files))

    assert "INTERNALERROR" in read.stopped
    assert read.first_error == "RuntimeError: inside"
    assert "conftest.py:2 in pytest_collection_finish" in [str(frame) for frame in read.frames]


def test_an_interrupted_run(tmp_path: Path) -> None:
    files = {"test_a.py": "def test_a():\n    assert 0\n\ndef test_b():\n    raise KeyboardInterrupt\n"}

    read = report(lay_out(tmp_path, files))

    assert read.failing == ["test_a.py::test_a"]
    assert read.stopped == "KeyboardInterrupt"


def test_a_doctest(tmp_path: Path) -> None:
    read = report(
        lay_out(tmp_path, {"m.py": 'def f():\n    """\n    >>> 1 + 1\n    3\n    """\n'}), "--doctest-modules"
    )

    assert read.failing == ["m.py::m.f"]
    assert "Expected:" in read.first_error
    assert [str(frame) for frame in read.frames] == ["m.py:3"]


def test_all_green(tmp_path: Path) -> None:
    read = report(lay_out(tmp_path, {"test_a.py": "def test_a(): pass\n"}))

    assert (read.passed, read.failed, read.errors) == (1, 0, 0)
    assert read.failing == [] and read.first_error == ""


CHAIN = """\
def f():
    try:
        {}['k']
    except KeyError as error:
        raise ValueError('outer') from error
"""


@pytest.mark.parametrize("style", ["long", "short", "native"])
def test_chained_exceptions_end_in_the_last_one(tmp_path: Path, style: str) -> None:
    files = {"m.py": CHAIN, "test_a.py": "import m\ndef test_a():\n    m.f()\n"}

    read = report(lay_out(tmp_path, files), f"--tb={style}")

    assert read.first_error == "ValueError: outer"
    assert {"m.py:3 in f", "m.py:5 in f"} <= {str(frame) for frame in read.frames}


UNITTEST = """\
import unittest
from pkg.calc import add, outer


class TestCalc(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(1, 2), 3)

    def test_deep(self):
        '''It has a docstring.'''
        outer(-1)

    def test_sub(self):
        for i in range(2):
            with self.subTest(i=i):
                self.assertEqual(i, 0)

    def test_ok(self):
        pass


class TestSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise OSError("no set-up")

    def test_never(self):
        pass
"""


def test_unittest(project: Path, tmp_path: Path) -> None:
    root = lay_out(tmp_path, {**PROJECT, "check/__init__.py": "", "check/test_u.py": UNITTEST})

    read = parse_report(run(root, "-m", "unittest", "check.test_u"), root=str(root))

    assert read.runner == "unittest"
    assert sorted(read.failing) == [
        "check.test_u.TestCalc.test_add",
        "check.test_u.TestCalc.test_deep",
        "check.test_u.TestCalc.test_sub",
        "check.test_u.TestSetUp",
    ]
    assert (read.failed, read.errors) == (2, 2)
    assert read.passed is not None and read.passed >= 0
    (deep,) = [failure for failure in read.failures if "test_deep" in failure.name]
    assert deep.error == "ValueError: negative - value"
    assert [str(frame) for frame in deep.frames] == [
        "check/test_u.py:11 in test_deep",
        "pkg/calc.py:13 in outer",
        "pkg/calc.py:8 in half",
    ]


def test_unittest_without_tests_and_with_a_module_that_does_not_load(tmp_path: Path) -> None:
    lay_out(tmp_path, {"empty.py": "", "bad.py": "import nowhere\n"})

    empty = parse_report(run(tmp_path, "-m", "unittest", "empty"))
    bad = parse_report(run(tmp_path, "-m", "unittest", "bad"), root=str(tmp_path))

    assert empty.collected_none
    assert bad.failing == ["bad"]
    assert bad.first_error == "ModuleNotFoundError: No module named 'nowhere'"
    assert [str(frame) for frame in bad.frames] == ["bad.py:1 in <module>"]


def test_old_unittest_and_nose_headings() -> None:
    thick, thin = "=" * 70, "-" * 70
    frame = '  File "t/a.py", line 3, in test_x\n    assert 0\n'
    body = f"{thin}\nTraceback (most recent call last):\n{frame}AssertionError\n\n"
    output = (
        f"F.\n{thick}\nFAIL: test_x (t.a.TestA)\n{body}{thick}\nERROR: t.a.test_y\n{body}"
        f"{thin}\nRan 3 tests in 0.001s\n\nFAILED (errors=1, failures=1)\n"
    )

    read = parse_report(output)

    assert read.failing == ["t.a.TestA.test_x", "t.a.test_y"]
    assert (read.passed, read.failed, read.errors) == (1, 1, 1)
    assert [str(frame) for frame in read.frames] == ["t/a.py:3 in test_x"]


def test_a_plain_program_that_raises(project: Path) -> None:
    output = run(project, "-c", "from pkg.calc import outer\nouter(-1)")

    read = parse_report(output, root=str(project))

    assert read.runner == "" and read.failing == []
    assert read.first_error == "ValueError: negative - value"
    assert [str(frame) for frame in read.frames] == ["pkg/calc.py:13 in outer", "pkg/calc.py:8 in half"]


def test_distributed_progress_lines() -> None:
    read = parse_report(
        "[gw0] [ 50%] PASSED tests/test_a.py::test_x \n[gw1] [100%] FAILED tests/test_a.py::test_y[a b] \n"
        "1 failed, 1 passed in 0.10s\n"
    )

    assert read.failing == ["tests/test_a.py::test_y[a b]"]


def test_subtests_fail_under_their_tests_id() -> None:
    read = parse_report(
        "=== short test summary info ===\nSUBFAILED(i=1) test_a.py::test_x - assert 1 == 0\n"
        "SUBFAILED[msg] (i=2) test_a.py::test_x - assert 2 == 0\n1 failed in 0.10s\n"
    )

    assert read.failing == ["test_a.py::test_x"]


def test_junit_xml_fills_what_the_text_lacks(project: Path, tmp_path: Path) -> None:
    xml = tmp_path / "report.xml"
    run(project, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={xml}")

    read = parse_report("make: *** [test] Error 1\n", xml.read_bytes(), root=str(project))

    assert sorted(read.failing) == sorted([*FAILED, ERROR])
    assert (read.passed, read.failed, read.errors, read.skipped) == (1, 5, 1, 1)
    assert frames_of(read, "test_deep") == DEEP


@pytest.mark.parametrize(
    "xml",
    [b"", b"<broken", b"<testsuite/>", b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite><testcase/></testsuite>'],
)
def test_junit_xml_that_says_nothing_changes_nothing(xml: bytes) -> None:
    assert parse_report("1 passed in 0.10s\n", xml) == parse_report("1 passed in 0.10s\n")


def test_frames_outside_the_repository_are_left_out() -> None:
    output = (
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3.11/runpy.py", line 1, in run\n'
        '  File "/repo/.venv/lib/python3.11/site-packages/x.py", line 2, in x\n'
        '  File "<frozen importlib>", line 3, in y\n'
        '  File "/repo/src/a.py", line 4, in z\n'
        '  File "/elsewhere/b.py", line 5, in w\n'
        "KeyError: 1\n"
    )

    assert [str(frame) for frame in parse_report(output, root="/repo").frames] == ["src/a.py:4 in z"]


@given(st.lists(st.sampled_from([
    "=== FAILURES ===", "=== ERRORS ===", "___ test_a ___", "E   x", "a.py:1: in f", "a.py:2: ", "_ _ _ _",
    "=== short test summary info ===", "FAILED a.py::b[ - c", "ERROR a", "1 failed in 0.1s", "", "=" * 70,
    "FAIL: x (y.Z)", "-" * 70, 'File "a.py", line 1, in x', "Ran 1 test in 0.1s", "INTERNALERROR>",
    "!!! x !!!", "ImportError while loading conftest '/a'.", "no tests ran in 0.1s",
])))  # fmt: skip
def test_no_output_whatever_makes_it_fail(lines: list[str]) -> None:
    assert isinstance(parse_report("\n".join(lines), root="/repo"), TestReport)
