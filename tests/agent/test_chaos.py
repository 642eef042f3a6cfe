"""A slice of `python -m bench.chaos`: five calamities, one run each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.chaos import CALAMITIES, survive

SLICE = ("agent killed", "sandbox killed", "engine killed", "journal full", "disk full")
SEEDS = {name: number + len(CALAMITIES) for number, name in enumerate(CALAMITIES)}


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
    survived = survive(SEEDS[name], short)
    assert survived.calamity == name and survived.struck, "the slice is to show something"
    assert survived.resumed == "done" and survived.checkpoints > 0
