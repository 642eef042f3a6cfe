"""Where the engine is met: private folders only, one socket a file, paths that fit."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import locations
from engine.errors import ModelNotFound


@pytest.fixture
def short() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ostro-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def fallbacks(short: Path) -> set[Path]:
    """What is used instead of an unusable session folder; machines with a login session have the first."""
    return {Path(f"/run/user/{os.getuid()}/ostro"), short / "cache" / "ostro" / "run"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_session_folder(monkeypatch: pytest.MonkeyPatch, short: Path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    assert locations.runtime_folder() == short / "ostro"
    assert mode(short / "ostro") == 0o700


def test_wide_folder_is_narrowed(monkeypatch: pytest.MonkeyPatch, short: Path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    (short / "ostro").mkdir(mode=0o755)
    assert mode(locations.runtime_folder()) == 0o700


def test_link_is_refused(monkeypatch: pytest.MonkeyPatch, short: Path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    monkeypatch.setenv("XDG_CACHE_HOME", str(short / "cache"))
    (short / "elsewhere").mkdir()
    (short / "ostro").symlink_to(short / "elsewhere")
    assert locations.runtime_folder() in fallbacks(short)


def test_another_users_folder_is_refused(monkeypatch: pytest.MonkeyPatch, short: Path):
    (short / "ostro").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert locations.private_folder(short / "ostro") is None


def test_unusable_session_folder(monkeypatch: pytest.MonkeyPatch, short: Path):
    (short / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(short / "cache"))
    assert locations.runtime_folder() in fallbacks(short)


def test_long_paths_fall_back_to_short_ones(monkeypatch: pytest.MonkeyPatch, short: Path):
    deep = short / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setenv("XDG_CACHE_HOME", str(deep))
    folder = locations.runtime_folder()
    assert not folder.is_relative_to(deep)
    assert mode(folder) == 0o700


def test_one_socket_a_file(tmp_path: Path):
    model = tmp_path / "a.gguf"
    model.write_text("one")
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    first = locations.meeting(model)
    assert locations.meeting(link) == first
    budgets = {locations.meeting(model, memory).socket for memory in (None, 1 << 30, 1 << 31)}
    assert len(budgets) == 3 and first.socket in budgets
    assert len(os.fsencode(first.socket)) <= locations.MAX_SOCKET_PATH
    assert mode(first.log.parent) == 0o700
    model.write_text("changed")
    assert locations.meeting(model).socket != first.socket


def test_every_budget_of_a_model_is_found(monkeypatch: pytest.MonkeyPatch, short: Path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    model, other = short / "a.gguf", short / "b.gguf"
    for file in (model, other):
        file.write_text(file.name)
        for memory in (None, 1 << 30, 900 * 10**12):
            place = locations.meeting(file, memory)
            place.socket.touch()
            assert len(place.socket.stem) <= locations.LONGEST_NAME
    met = locations.budgets_met(model)
    assert met == {
        memory: locations.meeting(model, memory).socket for memory in (None, 1 << 30, 900 * 10**12)
    }


def test_no_model(tmp_path: Path):
    with pytest.raises(ModelNotFound, match=r"no model file at .*none\.gguf"):
        locations.meeting(tmp_path / "none.gguf")
