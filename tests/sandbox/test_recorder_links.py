"""What turns into a link while it is recorded or restored leads nowhere: without a sandbox around it. A
recorder that follows links falls for each of these."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sandbox.recorder import access, restore, walk
from sandbox.recorder.program import Recorder
from sandbox.recorder.restore import Restore
from sandbox.recorder.walk import Walk

from .mutants import without_and_with
from .recording import asked, swapping

SECRET = "never to be recorded, and longer than a chunk of nothing"


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


MODES = {
    "permissions alone": (0o755, "tool", 0o644),
    "to its owner alone": (0o4755, "tool", 0o644),
    "written": (0o4755, "changed", 0o644),
    "no more than closed": (0o600, "tool", 0o4755),
}
"""What a file was, and what is in it and its permissions when it is to come back."""


def permit_by_name(own: Restore, changes: list[restore.Change]) -> None:
    """As a recorder would that sets permissions when all else is in its place."""
    for change in changes:
        if change.after is not None:
            path = os.path.join(own._root, change.path)
            os.chmod(path, own._target.permissions(change.path, change.after[0]))


@without_and_with
@pytest.mark.parametrize("case", MODES)
def test_no_other_file_is_given_its_permissions(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, case: str, works: bool
) -> None:
    wanted, content, mode = MODES[case]
    tool, other = repo / "tool", repo / "src" / "other"
    tool.write_text("tool")
    tool.chmod(wanted)
    before = asked(recorder, "record")["id"]
    tool.write_text(content)
    tool.chmod(mode)
    other.write_text("tool")
    other.chmod(0o640)

    def swap() -> None:
        other.rename(tool)

    if works:
        monkeypatch.setattr(Restore, "_permit", permit_by_name)
    swapping(swap, Restore, "_permit", monkeypatch)
    answer = asked(recorder, "restore", id=before, paths=["tool"], expects=None)
    assert (stat.S_IMODE(tool.stat().st_mode) == wanted) is works
    if not works:
        assert stat.S_IMODE(tool.stat().st_mode) == 0o640
        # What was written by then had its own permissions.
        assert (answer.get("overtaken") == ["tool"]) is not bool(wanted & stat.S_ISUID)


def test_a_program_that_comes_back_for_its_owner_is_the_recorded_one(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written after it was looked at, in its place: the bit would be given to what a command wrote."""
    tool, real = repo / "tool", access.permit
    tool.write_text("tool")
    tool.chmod(0o4755)
    before = asked(recorder, "record")["id"]
    tool.chmod(0o755)

    def permit(opened: int, mode: int) -> None:
        tool.write_text("evil")
        real(opened, mode)

    monkeypatch.setattr(restore, "permit", permit)
    asked(recorder, "restore", id=before, paths=["tool"], expects=None)
    assert (tool.read_text(), stat.S_IMODE(tool.stat().st_mode)) == ("tool", 0o4755)


@without_and_with
def test_no_file_is_given_the_permissions_of_a_folder(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    folder = repo / "folder"
    folder.mkdir()
    folder.chmod(0o4755)
    before = asked(recorder, "record")["id"]
    folder.chmod(0o700)

    def swap() -> None:
        folder.rmdir()
        folder.write_text("a program")
        folder.chmod(0o700)

    if works:
        monkeypatch.setattr(Restore, "_permit", permit_by_name)
    swapping(swap, Restore, "_permit", monkeypatch)
    answer = asked(recorder, "restore", id=before, paths=["folder"], expects=None)
    assert (stat.S_IMODE(folder.stat().st_mode) == 0o4755) is works
    assert works or (answer.get("overtaken") == ["folder"] and stat.S_IMODE(folder.stat().st_mode) == 0o700)


def test_permissions_of_a_file_with_two_names_come_back(repo: Path, recorder: Recorder) -> None:
    (repo / "a.txt").write_text("one")
    (repo / "a.txt").chmod(0o640)
    os.link(repo / "a.txt", repo / "b.txt")
    before = asked(recorder, "record")["id"]
    (repo / "a.txt").chmod(0o600)
    answer = asked(recorder, "restore", id=before, paths=None, expects=None)
    assert answer["changed"] == ["a.txt", "b.txt"]
    assert stat.S_IMODE((repo / "b.txt").stat().st_mode) == 0o640 and (repo / "a.txt").stat().st_nlink == 2


@pytest.mark.parametrize("mode", [0o4311, 0o311])
def test_a_set_user_id_program_is_not_opened_up_to_be_read(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """A command may write it while it is, and it would be given the bit again."""
    tool, given = repo / "tool", []
    tool.write_text("tool")
    tool.chmod(mode)
    monkeypatch.setattr(access, "permit", lambda _opened, mode: given.append(mode))
    with contextlib.suppress(PermissionError):
        asked(recorder, "record")
    assert given == ([] if mode & stat.S_ISUID else [0o711, 0o311])
