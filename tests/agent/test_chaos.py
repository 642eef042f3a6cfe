"""A slice of `python -m bench.chaos`: a run of each calamity that is quick, and what may be left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.chaos import survive
from tests.agent.chaos_script import PLAIN, PROGRAM, Call, Step, possible

SLICE = {
    "agent killed": 90, "sandbox killed": 190, "engine killed": 66, "journal full": 222, "disk full": 43,
    "undo killed": 206,
}  # fmt: skip
"""Seeds of short scripts that count something, struck in their middle."""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for that of a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="ostro-chaos-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", SLICE)
def test_a_run_survives(name: str, short: Path) -> None:
    if name == "disk full" and os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    survived = survive(SLICE[name], short)
    assert survived.calamity == name and survived.struck, "the slice is to show something"
    assert survived.resumed == "done" and survived.checkpoints > 0


def test_a_call_that_ran_once_has_its_effect_once() -> None:
    more = Call("shell", {}, (Step("a", lambda was: (PLAIN, was[1] + b"x") if was else was, torn=True),), 0)
    start = {"a": (PROGRAM, b"-")}
    assert possible(start, [(more, True)])["a"] == {(PLAIN, b"-x")}
    assert possible(start, [(more, False)])["a"] == {(PROGRAM, b"-"), (PROGRAM, b""), (PLAIN, b"-x")}
    assert (PLAIN, b"-xx") in possible(start, [(more, True), (more, False)])["a"]
    assert (PROGRAM, b"-") not in possible(start, [(more, False), (more, True)])["a"]
