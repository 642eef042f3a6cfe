"""The doctor finds the engine processes of a model, whatever budget they were told."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.catalogue import DEFAULT_MODEL
from engine.locations import meeting
from tui import doctor


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of the catalogue's models the default one is here, and a folder for sockets, of a short name."""
    short = Path(tempfile.mkdtemp(prefix="ostro-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    file = short / "model.gguf"
    file.write_text("one")
    monkeypatch.setattr(doctor, "installed", lambda name: name == DEFAULT_MODEL)
    monkeypatch.setattr(doctor, "resolve", lambda name: file)
    yield file
    shutil.rmtree(short)


def test_engines_of_every_budget_are_found(model: Path) -> None:
    (none,) = doctor._engines()
    assert not none.ok and "not running" in none.detail
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for listener, memory in ((first, 12 * 10**9), (second, 3 * 10**9)):
            listener.bind(str(meeting(model, memory).socket))
            listener.listen()
        found = doctor._engines()
        assert [each.ok for each in found] == [True, True]
        assert {each.detail for each in found} == {
            f"{DEFAULT_MODEL}: has it loaded, within {gb} GB" for gb in ("12.0", "3.0")
        }
    (killed,) = doctor._engines()
    assert not killed.ok
