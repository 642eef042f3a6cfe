"""Snapshots: what they hold, diffs that apply, files put back, and the repository's .git left alone."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError

from .conftest import Opener, git


def picture(root: Path) -> dict[str, tuple]:
    """Content, executable bit or link target of every file below `root` but `.git`'s."""
    found = {}
    for here, folders, files in os.walk(root):
        if ".git" in folders:
            folders.remove(".git")
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(here, f)))]:
            path = Path(here, name)
            if path.is_symlink():
                found[str(path.relative_to(root))] = ("link", os.readlink(path))
            else:
                found[str(path.relative_to(root))] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def git_hash(repo: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted((repo / ".git").rglob("*")):
        digest.update(f"{path} {path.lstat().st_mode} {path.lstat().st_mtime_ns}\n".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def change_everything(repo: Path) -> None:
    (repo / "README.md").write_text("read me again\n")
    (repo / "src" / "calc.py").unlink()
    (repo / "tool").chmod(0o755)
    (repo / "picture.bin").write_bytes(os.urandom(3000))
    (repo / 'naïve 文 "quoted".txt').write_text("new, untracked\n")
    (repo / "latin.txt").write_bytes("Größe\n".encode("latin-1"))
    (repo / "turned").unlink()
    (repo / "turned").mkdir()
    (repo / "turned" / "inner.txt").write_text("a folder now\n")
    (repo / "link").unlink()
    (repo / "link").symlink_to("turned")
    (repo / "dos.txt").write_bytes(b"one\r\ntwo\n")


@pytest.fixture
def rich(repo: Path) -> Path:
    (repo / "tool").write_text("#!/bin/sh\n")
    (repo / "picture.bin").write_bytes(bytes(range(256)) * 4)
    (repo / "turned").write_text("a file\n")
    (repo / "link").symlink_to("README.md")
    (repo / "dos.txt").write_bytes(b"one\r\ntwo\r\n")
    (repo / "latin.txt").write_bytes("größe\n".encode("latin-1"))
    (repo / "empty").write_text("")
    (repo / ".gitattributes").write_text(
        "*.txt text eol=lf working-tree-encoding=UTF-16\n*.md filter=evil ident diff=evil\n*.py -diff\n"
    )
    git(repo, "add", "--all", "--", ".", ":!dos.txt", ":!latin.txt")
    git(repo, "commit", "--quiet", "--message", "more")
    return repo


async def test_round_trip(rich: Path, box: Sandbox, tmp_path: Path) -> None:
    start = picture(rich)
    before = git_hash(rich)
    a = await box.workspace.snapshot()
    change_everything(rich)
    changed = picture(rich)
    b = await box.workspace.snapshot()
    patch = await box.workspace.diff(a, b)
    names = await box.workspace.changed(a, b)
    assert set(names) == {n for n in {*start, *changed} if start.get(n) != changed.get(n)}

    await box.workspace.restore(a)
    assert picture(rich) == start
    await box.workspace.restore(b)
    assert picture(rich) == changed
    await box.workspace.restore(a)
    assert git_hash(rich) == before

    # The patch has to apply with plain git to a tree equal to the first snapshot.
    file = tmp_path / "change.patch"
    file.write_text(patch, encoding="utf-8")
    plain = tmp_path / "plain"
    shutil.copytree(rich, plain, symlinks=True)
    (plain / ".gitattributes").unlink()
    git(plain, "apply", "--whitespace=nowarn", str(file))
    assert {k: v for k, v in picture(plain).items() if k != ".gitattributes"} == {
        k: v for k, v in changed.items() if k != ".gitattributes"
    }


async def test_what_is_recorded(repo: Path, box: Sandbox) -> None:
    (repo / "kept.log").write_text("tracked although ignored")
    git(repo, "add", "--force", "kept.log")
    a = await box.workspace.snapshot()
    (repo / "kept.log").write_text("changed")
    (repo / "noise.log").write_text("ignored")
    (repo / ".git" / "info" / "exclude").write_text("private.txt\n")
    (repo / "private.txt").write_text("ignored by the user's own list")
    (repo / "src" / "__pycache__").mkdir()
    (repo / "src" / "__pycache__" / "calc.cpython-311.pyc").write_bytes(b"noise")
    (repo / "new.txt").write_text("new")
    assert await box.workspace.changed(a, await box.workspace.snapshot()) == ["kept.log", "new.txt"]
    await box.workspace.restore(a)
    assert (repo / "noise.log").exists()
    assert not (repo / "new.txt").exists()


async def test_restore_of_some_paths(repo: Path, box: Sandbox) -> None:
    a = await box.workspace.snapshot()
    (repo / "README.md").write_text("keep this change\n")
    (repo / "src" / "calc.py").write_text("broken\n")
    (repo / "src" / "extra.py").write_text("new\n")
    await box.workspace.restore(a, ["src"])
    assert (repo / "README.md").read_text() == "keep this change\n"
    assert "return a + b" in (repo / "src" / "calc.py").read_text()
    assert not (repo / "src" / "extra.py").exists()
    with pytest.raises(SandboxError):
        await box.workspace.restore(a, ["../x"])


async def test_same_size_and_second_is_noticed(repo: Path, box: Sandbox) -> None:
    trees = []
    for letter in "abcab":
        (repo / "one.txt").write_text(letter)
        trees.append(await box.workspace.snapshot())
    assert len(set(trees[:3])) == 3
    assert trees[3:] == trees[:2]


async def test_a_tree_outlives_the_session(repo: Path, open_sandbox: Opener) -> None:
    first = await open_sandbox()
    a = await first.workspace.snapshot()
    await first.close()
    (repo / "README.md").write_text("changed\n")
    second = await open_sandbox()
    await second.workspace.restore(a)
    assert (repo / "README.md").read_text() == "read me\n"


async def test_repository_without_a_commit(home: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    git(fresh, "init", "--quiet")
    (fresh / "a.txt").write_text("a\n")
    box = await open_sandbox(fresh)
    a = await box.workspace.snapshot()
    (fresh / "a.txt").unlink()
    assert await box.workspace.changed(a, await box.workspace.snapshot()) == ["a.txt"]


async def test_a_repository_inside_does_not_stop_snapshots(repo: Path, box: Sandbox) -> None:
    a = await box.workspace.snapshot()
    for name in ("empty", "full"):
        (repo / name).mkdir()
        git(repo / name, "init", "--quiet")
    git(repo / "full", "commit", "--quiet", "--allow-empty", "--message", "x")
    (repo / "new.txt").write_text("new")
    assert await box.workspace.changed(a, await box.workspace.snapshot()) == ["new.txt"]


async def test_hostile_configuration_runs_nothing_outside(
    repo: Path, open_sandbox: Opener, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    for key in (
        "core.fsmonitor",
        "filter.evil.clean",
        "filter.evil.smudge",
        "diff.evil.textconv",
        "diff.external",
    ):
        git(repo, "config", key, f"touch {marker};cat")
    (repo / ".gitattributes").write_text("* filter=evil diff=evil\n")
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    box = await open_sandbox()
    a = await box.workspace.snapshot()
    (repo / "README.md").write_text("changed\n")
    b = await box.workspace.snapshot()
    assert "+changed" in await box.workspace.diff(a, b)
    await box.workspace.restore(a)
    await box.workspace.listing(recursive=True)
    assert not marker.exists()


async def test_an_id_is_not_an_option(box: Sandbox) -> None:
    with pytest.raises(SandboxError, match="not the id"):
        await box.workspace.diff("--output=/tmp/x", "HEAD")


async def test_linked_worktree(repo: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    tree = tmp_path / "second"
    git(repo, "worktree", "add", "--quiet", str(tree))
    box = await open_sandbox(tree)
    a = await box.workspace.snapshot()
    (tree / "README.md").write_text("changed\n")
    assert await box.workspace.changed(a, await box.workspace.snapshot()) == ["README.md"]
    assert " M README.md" in (await box.workspace.run(["git", "status", "--short"])).output


async def test_without_git(monkeypatch: pytest.MonkeyPatch, open_sandbox: Opener) -> None:
    # Not a folder in /tmp, where commands write: Ostro looks into none of those for what it starts itself.
    monkeypatch.setenv("PATH", "/usr/share")
    bare = await open_sandbox()
    with pytest.raises(SandboxError, match="install git"):
        await bare.workspace.snapshot()
