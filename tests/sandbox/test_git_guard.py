"""Every repository of the workspace: found, kept from running programs, and still usable."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path, PurePath

import pytest

from sandbox import Sandbox, SandboxError, git_guard

from .conftest import Opener, git


@pytest.fixture
def nested(repo: Path, tmp_path: Path) -> Path:
    """The repository with a submodule, a linked worktree, another repository and a bare one inside."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    git(other, "commit", "--quiet", "--allow-empty", "--message", "start")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "libs/module")
    git(repo, "worktree", "add", "--quiet", "trees/linked")
    git(repo, "clone", "--quiet", "--no-hardlinks", str(other), "vendor/inner")
    git(repo, "clone", "--quiet", "--bare", "--no-hardlinks", str(other), "vendor/bare")
    return repo


def test_all_of_them_are_found(nested: Path) -> None:
    found = {place.path: place.is_pointer for place in git_guard.survey(nested)}
    assert found == {
        ".git": False,
        ".git/modules/libs/module": False,
        ".git/worktrees/linked": False,
        "libs/module/.git": True,
        "trees/linked/.git": True,
        "vendor/bare": False,
        "vendor/inner/.git": False,
    }


def test_too_many_are_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_guard, "MOST_REPOSITORIES", 0)
    with pytest.raises(SandboxError, match="too many to protect"):
        git_guard.survey(repo)


STARTERS = ("hooks", "config", "config.worktree", "commondir", "info/attributes")
"""Of its own: a name that the guard forgets must not be forgotten here as well."""
GIT_FOLDERS = [".git", ".git/modules/libs/module", "vendor/inner/.git", "vendor/bare"]
ATTACKS = {
    "hook": "mkdir -p $G/hooks; echo echo > $G/hooks/post-checkout; chmod +x $G/hooks/post-checkout",
    "hooks replaced": "mv $G/hooks $G/h2; mkdir $G/hooks; echo > $G/hooks/pre-commit",
    "config": "echo '[core]\n\tfsmonitor = touch marker' >> $G/config",
    "config renamed": "mv $G/config $G/c2; echo '[core]' > $G/config",
    "config by git": "git --git-dir=$G config core.pager 'touch marker'",
    "config.worktree": "echo '[core]' > $G/config.worktree",
    "commondir": "echo ../../evil > $G/commondir",
    "attributes": "mkdir -p $G/info; echo '* filter=x' > $G/info/attributes",
    "attributes by link": "rm -rf $G/info; mkdir away; echo > away/attributes; ln -s $PWD/away $G/info",
    "replaced": "mv $G moved; mkdir -p $G/hooks; cp -r moved/. $G; echo > $G/hooks/pre-commit",
}


def starters(repo: Path, folder: str) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for name in STARTERS:
        place = repo / folder / name
        files = [place] if place.is_file() else sorted(place.glob("*")) if place.is_dir() else []
        found |= {str(file): file.read_bytes() for file in files if file.is_file()}
    return found


@pytest.mark.parametrize("folder", GIT_FOLDERS)
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_nothing_makes_git_run_programs(
    nested: Path, open_sandbox: Opener, folder: str, attack: str, bare: bool
) -> None:
    box = await open_sandbox(unsafe=bare)
    before = starters(nested, folder)
    await box.workspace.run(["sh", "-c", f"G={folder}; {ATTACKS[attack]}"])
    assert (starters(nested, folder) != before) is bare


@pytest.mark.parametrize("folder", [folder for folder in GIT_FOLDERS if "/" in folder])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_no_folder_above_is_moved_away(
    nested: Path, open_sandbox: Opener, folder: str, bare: bool
) -> None:
    """Each in its turn, and what stood there made anew with a hook in it."""
    box = await open_sandbox(unsafe=bare)
    above = [str(place) for place in PurePath(folder).parents][:-1]
    for place in above:
        if place == ".git":
            continue
        before = starters(nested, folder)
        hook = f"{folder}/hooks/pre-commit"
        moving = f"mv {place} {place}-moved && cp -r {place}-moved {place}; echo {place} > {hook}"
        await box.workspace.run(["sh", "-c", moving])
        assert (starters(nested, folder) != before) is bare
        assert (nested / f"{place}-moved").exists() is bare


WRITTEN_THROUGH = {
    "the message of a commit": ("COMMIT_EDITMSG", "git commit -q --allow-empty -m x"),
    "the log of HEAD": ("logs/HEAD", "git commit -q --allow-empty -m x"),
    "the index": ("index", "echo >> README.md; git add README.md"),
    "packed refs": ("packed-refs", "git pack-refs --all"),
    "a folder of refs": ("refs/tags", "git tag x"),
}


@pytest.mark.parametrize("name", WRITTEN_THROUGH)
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_no_link_leads_the_users_git_out(
    repo: Path, outside: Path, open_sandbox: Opener, name: str, bare: bool
) -> None:
    place, script = WRITTEN_THROUGH[name]
    box = await open_sandbox(unsafe=bare)
    target = outside.parent if place == "refs/tags" else outside
    if place == "index":  # what is written through is read first
        shutil.copy(repo / ".git" / "index", outside)
    else:
        outside.write_text("")
    before = {path.name: path.read_bytes() for path in outside.parent.iterdir()}
    done = await box.workspace.run(["sh", "-c", f"rm -rf .git/{place}; ln -s {target} .git/{place}"])
    identity = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    git_of_the_user = partial(subprocess.run, cwd=repo, env={**os.environ, **identity}, check=False)
    await asyncio.to_thread(git_of_the_user, ["sh", "-c", script])
    assert ({path.name: path.read_bytes() for path in outside.parent.iterdir()} != before) is bare
    if not bare:
        assert f"[removed, because git would follow it: .git/{place} -> {target}]" in done.output


@pytest.mark.parametrize("pointer", ["libs/module/.git", "trees/linked/.git"])
async def test_pointers_stay(nested: Path, box: Sandbox, pointer: str) -> None:
    before = (nested / pointer).read_bytes()
    await box.workspace.run(
        ["sh", "-c", f"echo 'gitdir: /tmp/evil' > {pointer}; rm -f {pointer}; mv {pointer} x"]
    )
    assert (nested / pointer).read_bytes() == before


async def test_what_was_removed_is_said(nested: Path, box: Sandbox) -> None:
    done = await box.workspace.run(["sh", "-c", "echo ../evil > .git/commondir; echo fine"])
    assert done.output == (
        "fine\n\n[renamed to *.ostro-aside, because git would act on it: .git/commondir]\n"
    )
    assert (nested / ".git" / "commondir.ostro-aside").exists()


async def test_git_works_in_all_of_them(nested: Path, box: Sandbox) -> None:
    identity = "-c user.name=T -c user.email=t@example.org"
    for folder in (".", "libs/module", "vendor/inner"):
        script = (
            f"cd {folder} && echo x > new && git add new && git {identity} commit -qm new && git status -s"
        )
        done = await box.workspace.run(["sh", "-c", script])
        assert done.exit_code == 0, done.output
    assert git(nested, "log", "--format=%s").splitlines()[0] == "new"


async def test_a_new_repository_is_reported(nested: Path, box: Sandbox) -> None:
    assert await box.new_repositories() == []
    await box.workspace.run(
        ["sh", "-c", "git init -q made && mkdir -p deep/down && git init -q --bare deep/down"]
    )
    assert await box.new_repositories() == ["deep/down", "made/.git"]


async def test_without_a_sandbox_nothing_is_called_new(nested: Path, open_sandbox: Opener) -> None:
    assert await (await open_sandbox(unsafe=True)).new_repositories() == []


async def test_forks_are_guarded_too(nested: Path, box: Sandbox) -> None:
    fork = await box.workspace.fork()
    for folder in (".git", "vendor/inner/.git"):
        done = await fork.run(["sh", "-c", f"echo '[core]' >> {folder}/config"])
        assert done.exit_code != 0
    await fork.discard()


async def test_the_repository_stays_as_it_was(nested: Path, open_sandbox: Opener) -> None:
    before = sorted(str(path) for path in (nested / ".git").rglob("*"))
    box = await open_sandbox()
    await box.workspace.run(["git", "status"])
    await box.close()
    after = sorted(str(path) for path in (nested / ".git").rglob("*"))
    assert set(after) - set(before) <= {str(nested / ".git/worktrees/linked/hooks")}
