"""The table of protections fits the code, and the check tells a test that looks from one that does not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.mutation_check import ROOT, Check, Copy, Stale, make
from bench.protections import NO_PROBE, PROTECTIONS, Change, Protection

BY_NAME = {protection.name: protection for protection in PROTECTIONS}


def test_every_change_can_be_made(tmp_path: Path) -> None:
    for protection in PROTECTIONS:
        shutil.copytree(ROOT / "sandbox", tmp_path / "sandbox")
        for change in (
            *(() if protection.probe else (NO_PROBE,)),
            *protection.others_off,
            *protection.remove,
        ):
            make(change, tmp_path)
            text = (tmp_path / "sandbox" / change.file).read_text()
            compile(text, change.file, "exec")
        shutil.rmtree(tmp_path / "sandbox")
    assert len(BY_NAME) == len(PROTECTIONS), "names are of one protection each"


def test_every_test_is_there() -> None:
    for protection in PROTECTIONS:
        for test in protection.tests:
            file, _, function = test.partition("::")
            text = (ROOT / "tests" / "sandbox" / file).read_text()
            assert f"def {function.partition('[')[0]}(" in text or not function, test


def test_a_change_that_no_longer_fits_is_an_error(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sandbox", tmp_path / "sandbox")
    with pytest.raises(Stale, match=r"sandbox/limits\.py has 'no such line' 0 times"):
        make(Change("limits.py", "no such line", ""), tmp_path)


SLICE = ("filter: socket families", "/dev/shm of a command")


def test_a_slice_of_the_check(tmp_path_factory: pytest.TempPathFactory) -> None:
    check = Check(Copy(tmp_path_factory.mktemp("mutants")))
    for name in SLICE:
        assert check.look(BY_NAME[name])[0] == "noticed", name
    harmless = Change("limits.py", '"""Ceilings for one command."""', '"""Ceilings."""')
    filtered = BY_NAME["filter: socket families"]
    assert check.look(replace(filtered, remove=(harmless,)))[0] == "NOT NOTICED"
    crashes = Change("seccomp.py", "import struct\n", "import no_such_module\n")
    assert check.look(Protection("x", (crashes,), filtered.tests))[0] == "proves nothing"
