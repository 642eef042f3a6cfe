"""The benchmark's own modules: each with its tests, all passing unbroken; and what reads a suite's run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.subjects import PYTEST, SetName, subjects
from bench.suite import run_suite

BENCH = Path(__file__).parents[2] / "bench"
FOLDERS = [BENCH / "modules", BENCH / "algorithms"]


def test_all_pass_unbroken() -> None:
    command = [sys.executable, *PYTEST[1:], "-p", "no:cacheprovider", *map(str, FOLDERS)]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_module_has_its_suite() -> None:
    expected: dict[SetName, int] = {"modules": 20, "algorithms": 14}
    for group, least in expected.items():
        found = subjects(group)
        assert len(found) >= least
        for subject in found:
            assert subject.folder is not None
            assert (subject.folder / f"test_{subject.name}.py").read_text().count("def test_") >= 7


def test_run_tells_what_failed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_bad(n): assert n == 1\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_set_up(broken): pass\n"
    )
    run = run_suite(tmp_path, PYTEST, 60)
    assert (run.exit_code, run.passed, run.green) == (1, 2, False)
    assert run.failed == ["test_it.py::test_bad[2]", "test_it.py::test_set_up"]
    assert not list(tmp_path.rglob("__pycache__"))


def test_run_tells_what_cannot_be_collected(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import no_such_thing\n")
    run = run_suite(tmp_path, PYTEST, 60)
    assert run.errors == ["test_it.py"]
    assert not run.green


def test_nothing_survives_a_run_out_of_time(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pathlib, subprocess\n"
        "def test_hangs():\n"
        "    child = subprocess.Popen(['sleep', '100'])\n"
        "    pathlib.Path('pid').write_text(str(child.pid))\n"
        "    child.wait()\n"
    )
    run = run_suite(tmp_path, PYTEST, 4)
    assert run.exit_code is None
    assert gone(int((tmp_path / "pid").read_text()))


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether the process ends in that time: a signal takes a moment to arrive on a busy machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
