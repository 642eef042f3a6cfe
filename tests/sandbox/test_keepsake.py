"""The repository's objects outlive a command that deletes them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sandbox import Sandbox, keepsake
from sandbox.keepsake import keep

from .conftest import git, shell


async def test_a_history_that_a_command_deleted_comes_back(repo: Path, box: Sandbox) -> None:
    head = git(repo, "rev-parse", "HEAD").strip()
    await shell(box, "rm -rf .git; rm -rf README.md")
    assert not (repo / ".git" / "objects").exists(), "commands may write to it"
    git(repo, "init", "--quiet")
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, "cat-file", "-p", f"{head}:README.md")
    for file in box.kept[".git"].rglob("*"):
        if file.is_file():
            target = repo / ".git" / "objects" / file.relative_to(box.kept[".git"])
            target.parent.mkdir(exist_ok=True)
            os.link(file, target)
    assert git(repo, "cat-file", "-p", f"{head}:README.md") == "read me\n"
    git(repo, "fsck", "--strict")


async def test_what_is_kept_costs_no_room_and_goes_with_time(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(repo, [".git"], tmp_path / "kept")[".git"]
    names = [file for file in kept.rglob("*") if file.is_file()]
    assert names and all(file.stat().st_nlink == 2 for file in names)
    git(repo, "gc", "--quiet")
    keep(repo, [".git"], tmp_path / "kept")
    assert all(file.exists() for file in names), "what git has packed is kept as it was"
    later = time.time() + 31 * 86_400
    monkeypatch.setattr(keepsake.time, "time", lambda: later)
    keep(repo, [".git"], tmp_path / "kept")
    assert not any(file.exists() for file in names) and list(kept.glob("pack/*.pack"))


def test_links_are_not_followed(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "ab"
    other.mkdir(parents=True)
    (other / "x").write_text("not an object")
    (repo / ".git" / "objects" / "ff").symlink_to(other)
    (repo / "inner" / ".git").mkdir(parents=True)
    (repo / "inner" / ".git" / "objects").symlink_to(other.parent)
    assert len(list((repo / ".git" / "objects").glob("ff/x"))) == 1, "a plain look follows them"
    kept = keep(repo, [".git", "inner/.git"], tmp_path / "kept")
    assert list(kept) == [".git"] and not (kept[".git"] / "ff").exists()


def test_too_many_are_left_out(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepsake, "MOST_OBJECTS", 1)
    assert keep(repo, [".git"], tmp_path / "kept") == {}


async def test_the_second_names_are_not_seen_inside(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    assert ("No such file" not in await shell(box, 'ls "$1"', str(box.kept[".git"]))) is works
