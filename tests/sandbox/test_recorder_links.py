"""What turns into a link while it is recorded or restored leads nowhere: without a sandbox around it. A
recorder that follows links falls for each of these."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox.recorder import restore, walk
from sandbox.recorder.program import Recorder
from sandbox.recorder.restore import Restore
from sandbox.recorder.walk import Walk

from .mutants import without_and_with

SECRET = "never to be recorded, and longer than a chunk of nothing"


@pytest.fixture
def recorder(repo: Path, tmp_path: Path) -> Iterator[Recorder]:
    git_dir, state = str(repo / ".git"), tmp_path / "state"
    state.mkdir()
    place = {
        "root": str(repo), "store": str(state), "index": str(state), "git": ["git"], "git_dir": git_dir,
        "git_index": f"{git_dir}/index", "own_excludes": f"{git_dir}/info/exclude", "excludes": [],
        "plain": git_dir, "binary": git_dir,
    }  # fmt: skip
    recorder = Recorder(place)
    yield recorder
    recorder.close()


@pytest.fixture
def follows(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the recorder one that opens whatever a link leads to, and takes it for what was recorded."""

    def follow() -> None:
        folder = walk.OPEN_FOLDER & ~os.O_NOFOLLOW
        monkeypatch.setattr(walk, "OPEN_FOLDER", folder)
        monkeypatch.setattr(restore, "OPEN_FOLDER", folder)
        monkeypatch.setattr(Restore, "_require_recorded", lambda *_: None)
        monkeypatch.setattr(walk, "_OPEN_FILE", walk._OPEN_FILE & ~os.O_NOFOLLOW)

    return follow


@pytest.fixture
def outside(repo: Path, tmp_path: Path) -> Path:
    """A folder outside with a file of the same name as one in the workspace."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text(SECRET)
    (repo / "folder").mkdir()
    (repo / "folder" / "file").write_text("the repository's")
    return folder


def asked(recorder: Recorder, op: str, **more: Any) -> dict[str, Any]:
    return recorder.answer({"op": op, "session": "one", "like": [], **more})[0]


def swapping(swap: Callable[[], None], kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swaps something, once, in the moment when this method is called, for what is to be swapped."""
    method, left = getattr(kind, name), [swap]
    wanted = {"_file": "file", "_below": "folder", "_ignored": "folder/"}.get(name)

    def called(self: Any, *args: Any) -> Any:
        if left and (wanted is None or args[1] == wanted):
            left.pop()()
        return method(self, *args)

    monkeypatch.setattr(kind, name, called)


def recorded(recorder: Recorder) -> str:
    """What a snapshot has of the file; "" where there is none, or no snapshot."""
    with contextlib.suppress(OSError):
        entry = recorder._snapshot(asked(recorder, "record")["id"]).find("folder/file")
        return recorder._store.get(entry[1]).decode() if entry else ""
    return ""


@without_and_with
def test_a_file_that_becomes_a_link_is_not_read(
    repo: Path,
    recorder: Recorder,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
    follows: Callable[[], None],
    works: bool,
) -> None:
    if works:
        follows()

    def swap() -> None:
        (repo / "folder" / "file").unlink()
        (repo / "folder" / "file").symlink_to(outside / "file")

    swapping(swap, Walk, "_file", monkeypatch)
    if works:
        assert SECRET in recorded(recorder)
        return
    with pytest.raises(OSError, match=r"symbolic links|ELOOP"):
        asked(recorder, "record")


@without_and_with
def test_a_folder_that_becomes_a_link_is_not_entered(
    repo: Path,
    recorder: Recorder,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
    follows: Callable[[], None],
    works: bool,
) -> None:
    if works:
        follows()

    def swap() -> None:
        (repo / "folder").rename(repo / "moved")
        (repo / "folder").symlink_to(outside)

    def swap_back() -> None:
        """Before git is asked, which would see the link."""
        (repo / "folder").unlink()
        (repo / "moved").rename(repo / "folder")

    swapping(swap, Walk, "_below", monkeypatch)
    swapping(swap_back, Walk, "_ignored", monkeypatch)
    assert (SECRET in recorded(recorder)) is works


@without_and_with
def test_nothing_is_written_through_a_folder_that_becomes_a_link(
    repo: Path,
    recorder: Recorder,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
    follows: Callable[[], None],
    works: bool,
) -> None:
    if works:
        follows()
    before = asked(recorder, "record")["id"]
    (repo / "folder" / "file").write_text("changed")

    def swap() -> None:
        (repo / "folder").rename(repo / "moved")
        (repo / "folder").symlink_to(outside)

    swapping(swap, Restore, "_refuse_unrecorded", monkeypatch)
    with contextlib.suppress(OSError):
        asked(recorder, "restore", id=before, paths=None)
    kept = (outside / "file").read_text() == SECRET and os.listdir(outside) == ["file"]
    assert kept is not works


def save(file: Path) -> None:
    file.write_text("the user's")


@pytest.mark.parametrize("goes", [False, True])
def test_a_file_saved_while_others_are_restored_stays(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, goes: bool
) -> None:
    """In a large tree that takes seconds, and what was recorded before them does not hold it."""
    file = repo / "z.txt"
    if not goes:
        file.write_text("one")
    before = asked(recorder, "record")["id"]
    (repo / "a.txt").write_text("new")
    file.write_text("two")
    swapping(partial(save, file), Restore, "_remove" if goes else "_put", monkeypatch)
    answer = asked(recorder, "restore", id=before, paths=None, expects=None)
    assert answer.get("overtaken") == ["z.txt"] and answer.get("partly")
    assert file.read_text() == "the user's"
    assert list(repo.glob(".ostro-restore-*")) == []
    again = asked(recorder, "restore", id=before, paths=None, expects=None)
    assert "a.txt" not in os.listdir(repo) and set(again["changed"]) >= {"z.txt"}


def test_a_file_made_where_one_comes_back_stays(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "a.txt").write_text("one")
    before = asked(recorder, "record")["id"]
    (repo / "a.txt").unlink()
    swapping(partial(save, repo / "a.txt"), Restore, "_put", monkeypatch)
    answer = asked(recorder, "restore", id=before, paths=None, expects=None)
    assert answer.get("overtaken") == ["a.txt"] and (repo / "a.txt").read_text() == "the user's"


def test_files_that_are_one_by_a_hard_link_come_back(repo: Path, recorder: Recorder) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (repo / name).write_text(name)
    before = asked(recorder, "record")["id"]
    for name in ("b.txt", "c.txt"):
        (repo / name).unlink()
        os.link(repo / "a.txt", repo / name)
    os.link(repo / "a.txt", repo / "d.txt")
    asked(recorder, "restore", id=before, paths=None, expects=None)
    assert [(repo / name).read_text() for name in ("a.txt", "b.txt", "c.txt")] == ["a.txt", "b.txt", "c.txt"]
    assert not (repo / "d.txt").exists()
