"""The table of protections fits the code, and the check tells a test that looks from one that does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import mutation_check
from bench.mutation_check import (
    ROOT,
    Check,
    Copy,
    Outcome,
    Stale,
    Verdict,
    make,
    path_of_test,
    read_report,
    summed_up,
)
from bench.protections import NO_PROBE, PROTECTIONS, Change, Protection

BY_NAME = {protection.name: protection for protection in PROTECTIONS}


def test_every_change_can_be_made(tmp_path: Path) -> None:
    for protection in PROTECTIONS:
        changes = (*(() if protection.probe else (NO_PROBE,)), *protection.others_off, *protection.remove)
        for path in {change.path for change in changes}:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
        for change in changes:
            make(change, tmp_path)
            compile((tmp_path / change.path).read_text(), change.path, "exec")
    assert len(BY_NAME) == len(PROTECTIONS), "names are of one protection each"


def test_every_test_is_there() -> None:
    for protection in PROTECTIONS:
        for test in protection.tests:
            file, _, function = test.partition("::")
            text = (ROOT / path_of_test(file)).read_text()
            assert f"def {function.partition('[')[0]}(" in text or not function, test


def test_a_change_that_no_longer_fits_is_an_error(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sandbox", tmp_path / "sandbox")
    with pytest.raises(Stale, match=r"sandbox/limits\.py has 'no such line' 0 times"):
        make(Change("limits.py", "no such line", ""), tmp_path)
    with pytest.raises(Stale, match=r"there is no sandbox/gone\.py"):
        make(Change("gone.py", "", ""), tmp_path)


SUITE = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_means_to_fail(): pytest.fail("so")
def test_breaks(): raise RuntimeError
def test_is_skipped(): pytest.skip("not here")
def test_hangs():
    while True:
        pass
"""


def test_what_a_test_meant_is_told_from_what_happened_to_it(tmp_path: Path) -> None:
    (tmp_path / "test_all.py").write_text(SUITE)
    options = ("-q", "-p", "no:cacheprovider", "--timeout=1", "--junitxml=report.xml", "-c", "/dev/null")
    argv = [sys.executable, "-m", "pytest", *options, "--rootdir=.", "test_all.py"]
    subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False)
    assert read_report(tmp_path / "report.xml") == Outcome(
        passed=("test_passes",),
        failed=("test_fails", "test_means_to_fail"),
        broken=("test_breaks",),
        hung=("test_hangs",),
        skipped=("test_is_skipped",),
    )
    assert read_report(tmp_path / "no-report.xml").broken


class Played(Copy):
    """Outcomes given beforehand, in their order; what is raised instead of one as well."""

    def __init__(self, *outcomes: Outcome | Stale) -> None:
        self._outcomes = iter(outcomes)

    def run(self, changes: Iterable[Change], tests: Sequence[str]) -> Outcome:
        outcome = next(self._outcomes)
        if isinstance(outcome, Stale):
            raise outcome
        return outcome


WELL, HANGS = Outcome(("t",), (), ()), Outcome((), (), (), hung=("t",))


@pytest.mark.parametrize(
    ("outcomes", "in_time", "verdict"),
    [
        ((WELL, Outcome((), ("t",), ())), False, "noticed"),
        ((WELL, WELL), False, "NOT NOTICED"),
        ((WELL, HANGS), False, "proves nothing"),
        ((WELL, HANGS), True, "noticed"),
        ((HANGS,), True, "proves nothing"),
        ((Outcome((), (), (), skipped=("t",)),), False, "not here"),
        ((Outcome((), (), ()),), False, "proves nothing"),
        ((Stale("correct it"),), False, "stale"),
        ((WELL, Stale("correct it")), False, "stale"),
    ],
)
def test_verdicts(outcomes: tuple[Outcome | Stale, ...], in_time: bool, verdict: Verdict) -> None:
    row = Protection("x", (), ("t.py",), ends_in_time=in_time)
    assert Check(Played(*outcomes)).look(row)[0] == verdict


def test_a_stale_row_is_told_and_the_others_are_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = Protection("stale row", (Change("limits.py", "no such line", ""),), ("t.py",))
    fresh = Protection("fresh row", (), ("t.py",))
    played = Played(WELL, Stale("limits.py: correct it"), Outcome((), ("t",), ()))
    monkeypatch.setattr(mutation_check, "PROTECTIONS", (stale, fresh))
    monkeypatch.setattr(mutation_check, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(mutation_check, "Copy", lambda _folder: played)
    monkeypatch.setattr(mutation_check, "adopt_orphans", lambda: None)
    monkeypatch.setattr(sys, "argv", ["mutation_check"])
    monkeypatch.setenv("CI", "1")
    assert mutation_check.main() == 1
    said = capsys.readouterr().out
    assert "stale          stale row: limits.py: correct it\n" in said
    assert "noticed        fresh row: t\n" in said
    assert "1 of 2 protections are noticed when they are gone.\n1 of them no longer fit" in said


def test_in_ci_everything_has_to_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert summed_up(["noticed", "not here"]) == 0
    assert summed_up(["noticed", "NOT NOTICED"]) == 1
    monkeypatch.setenv("CI", "1")
    assert summed_up(["noticed", "not here"]) == 1


SLICE = ("filter: socket families", "devices of the machine")


def test_a_slice_of_the_check(tmp_path_factory: pytest.TempPathFactory) -> None:
    check = Check(Copy(tmp_path_factory.mktemp("mutants")))
    for name in SLICE:
        assert check.look(BY_NAME[name])[0] == "noticed", name
    harmless = Change("limits.py", '"""Ceilings for one command."""', '"""Ceilings."""')
    filtered = BY_NAME["filter: socket families"]
    assert check.look(replace(filtered, remove=(harmless,)))[0] == "NOT NOTICED"
    crashes = Change("seccomp.py", "import struct\n", "import no_such_module\n")
    assert check.look(Protection("x", (crashes,), filtered.tests))[0] == "proves nothing"
