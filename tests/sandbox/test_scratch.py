"""Folders of ours that commands write in are removed, whatever they left there."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.scratch import Scratch, remove_tree

from . import naive
from .conftest import Opener, python
from .mutants import without_and_with

LEVELS = 5_000
"""More than Python goes down, and longer than any path may be."""
DEEP = f"""
import os
for level in range({LEVELS}):
    os.mkdir("d")
    os.chdir("d")
    open("f", "w").close()
print("deep")
"""


@pytest.fixture(autouse=True)
def cleared(tmp_path: Path) -> Iterator[None]:
    """Where a test fails, pytest could not remove its folder either."""
    yield
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def test_a_tree_of_any_depth(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    with inside(top):
        exec(DEEP)
    with pytest.raises((RecursionError, OSError)):
        shutil.rmtree(top)
    remove_tree(top)
    assert not top.exists()


def test_no_link_is_followed_and_no_permission_needed(tmp_path: Path) -> None:
    kept, top = trap(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(kept)
    remove_tree(link)
    remove_tree(top)
    remove_tree(tmp_path / "missing")
    assert not top.exists()
    assert (kept / "below" / "file").exists() and kept.stat().st_mode & 0o777 == 0o755


def test_a_plain_removal_follows_a_link(tmp_path: Path) -> None:
    kept, top = trap(tmp_path)
    with contextlib.suppress(OSError):
        naive.remove(top)
    assert not (kept / "below" / "file").exists() and kept.stat().st_mode & 0o777 == 0o700


def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A folder to be kept, and one to be removed with links to it."""
    kept = tmp_path / "kept"
    (kept / "below").mkdir(parents=True)
    (kept / "below" / "file").write_text("mine")
    kept.chmod(0o755)
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "b" / "c" / "file").write_text("x")
    for folder in (top, top / "a", top / "a" / "b"):
        (folder / "link").symlink_to(kept)
        (folder / "to-nothing").symlink_to("nothing")
    for folder in (top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
        folder.chmod(0)
    return kept, top


def test_what_cannot_be_removed_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_text("x")

    def refused(*_args: object, **_options: object) -> None:
        raise PermissionError("immutable")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        remove_tree(top)
    assert (top / "a" / "b").is_dir() and not (top / "a" / "file").exists()


async def test_a_deep_fork_is_discarded(box: Sandbox) -> None:
    fork = await box.workspace.fork()
    done = await fork.run([os.path.realpath("/proc/self/exe"), "-c", DEEP], seconds=60)
    assert done.output == "deep\n"
    await fork.discard()
    assert not list(box._room.scratch.path.glob("fork-*"))


@without_and_with
async def test_what_a_killed_session_left_stops_no_other(
    open_sandbox: Opener, repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    dead = Scratch(repo)
    with inside(dead.path):
        exec(DEEP)
    os.close(dead._lock)
    if works:
        monkeypatch.setattr("sandbox.scratch.remove_tree", shutil.rmtree)
    assert await python(await open_sandbox(), "print('up')") == "up\n"
    assert dead.path.exists() is works


def test_what_cannot_be_swept_stops_no_other(repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Scratch(repo)
    os.close(dead._lock)
    monkeypatch.setattr("sandbox.scratch.remove_tree", remove_badly)
    problem = None
    try:
        Scratch(repo)
    except RecursionError as raised:
        problem = raised
    assert problem is None and dead.path.exists()


def remove_badly(_path: Path) -> None:
    raise RecursionError("maximum recursion depth exceeded")
