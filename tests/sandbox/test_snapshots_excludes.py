"""The lists of ignored names beside `.gitignore`: the user's own for all repositories, the repository's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.user_excludes import LARGEST, user_excludes

from .conftest import Opener, git

USUAL = Path(".config", "git", "ignore")


@pytest.fixture(autouse=True)
def own_configuration(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the home folder. Git itself is not to write it: it would replace /dev/null."""
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)


def configure(home: Path, value: str) -> None:
    (home / ".gitconfig").write_text(f"[core]\n\texcludesFile = {value}\n")


def lists(home: Path, where: Path, content: str) -> None:
    (home / where).parent.mkdir(parents=True, exist_ok=True)
    (home / where).write_text(content)


@pytest.mark.parametrize("configured", [False, True])
async def test_what_the_user_ignores_everywhere_is_not_recorded(
    repo: Path, home: Path, open_sandbox: Opener, configured: bool
) -> None:
    place = Path("lists", "ignored") if configured else USUAL
    lists(home, place, "*.swp\n.idea/\nkept.md\nboth.txt\n")
    if configured:
        configure(home, f"~/{place}")
    lists(repo, Path(".git", "info", "exclude"), "private\n!both.txt\n")
    (repo / "kept.md").write_text("tracked\n")
    git(repo, "add", "--force", "kept.md")
    box = await open_sandbox()
    a = await box.workspace.snapshot()
    (repo / ".idea").mkdir()
    for name in ("a.swp", ".idea/workspace.xml", "private", "both.txt", "new.txt", "kept.md"):
        (repo / name).write_text("new\n")
    b = await box.workspace.snapshot()
    assert await box.workspace.changed(a, b) == ["both.txt", "kept.md", "new.txt"]
    assert ".idea" not in await box.workspace.diff(a, b)
    assert sorted(await box.history.uncommitted()) == ["both.txt", "kept.md", "new.txt"]
    seen = {entry.path for entry in await box.workspace.listing(recursive=True)}
    assert {"both.txt", "kept.md"} <= seen and not {"a.swp", "private", ".idea"} & seen
    await box.workspace.restore(a)
    assert (repo / "a.swp").exists() and not (repo / "both.txt").exists()


def test_what_cannot_be_a_list_is_none(repo: Path, home: Path) -> None:
    assert user_excludes(os.environ, repo) == b""
    lists(home, USUAL, "x\n")
    assert user_excludes(os.environ, repo) == b"x\n"
    lists(home, USUAL, "x" * (LARGEST + 1))
    assert user_excludes(os.environ, repo) == b""
    os.mkfifo(home / "pipe")
    for value in ("", "relative", "~/pipe", "~/nothing", "/"):
        configure(home, value)
        assert user_excludes(os.environ, repo) == b""


def test_no_word_of_the_repository_says_where_it_is(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(home, USUAL, "mine\n")
    (repo / "theirs").write_text("*\n")
    git(repo, "config", "core.excludesFile", str(repo / "theirs"))
    (repo / "git").write_text(f"#!/bin/sh\ntouch {repo}/ran\n")
    (repo / "git").chmod(0o755)
    monkeypatch.chdir(repo)
    monkeypatch.setenv("PATH", f"{repo}{os.pathsep}{os.environ['PATH']}")
    assert user_excludes(os.environ, repo) == b"mine\n"
    assert not (repo / "ran").exists()
