"""Every repository of the workspace: found, kept from running programs, and still usable."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path, PurePath

import pytest

from sandbox import FileProblem, Sandbox, SandboxError, git_folders, git_guard

from .breaking_out import bare_and_sandboxed
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
    found = {place.path: not place.is_folder for place in git_guard.survey(nested)}
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
    monkeypatch.setattr(git_folders, "MOST_REPOSITORIES", 0)
    with pytest.raises(SandboxError, match="too many to protect"):
        git_guard.survey(repo)


STARTERS = ("hooks", "config", "config.worktree", "commondir", "info/attributes", "info/exclude",
            "remotes", "branches")  # fmt: skip
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
    "a remote": "mkdir -p $G/remotes; echo 'URL: evil' > $G/remotes/origin",
    "a remote, older still": "mkdir -p $G/branches; echo evil > $G/branches/origin",
    "hidden files": "mkdir -p $G/info; echo '*' >> $G/info/exclude",
    "settings put aside": "mv $G/info $G/i2; mkdir $G/info; echo '*' > $G/info/exclude",
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
@bare_and_sandboxed
async def test_nothing_makes_git_run_programs(
    nested: Path, open_sandbox: Opener, folder: str, attack: str, bare: bool
) -> None:
    box = await open_sandbox(unsafe=bare)
    before = starters(nested, folder)
    await box.workspace.run(["sh", "-c", f"G={folder}; {ATTACKS[attack]}"])
    assert (starters(nested, folder) != before) is bare


@pytest.mark.parametrize("folder", [folder for folder in GIT_FOLDERS if "/" in folder])
@bare_and_sandboxed
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
@bare_and_sandboxed
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
@pytest.mark.parametrize(
    "script", ["echo 'gitdir: /tmp/evil' > {0}", "rm -f {0}; echo evil > {0}", "mv {0} x; echo evil > {0}"]
)
@bare_and_sandboxed
async def test_pointers_stay(
    nested: Path, open_sandbox: Opener, script: str, pointer: str, bare: bool
) -> None:
    before = (nested / pointer).read_bytes()
    box = await open_sandbox(unsafe=bare)
    await box.workspace.run(["sh", "-c", script.format(pointer)])
    assert ((nested / pointer).read_bytes() != before) is bare


async def test_what_was_removed_is_said(nested: Path, box: Sandbox) -> None:
    done = await box.workspace.run(["sh", "-c", "echo ../evil > .git/commondir; echo fine"])
    assert done.output == (
        "fine\n\n[renamed to *.ostro-aside, because git would act on it: .git/commondir]\n"
    )
    assert (nested / ".git" / "commondir.ostro-aside").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_was_put_aside_before_stays(nested: Path, open_sandbox: Opener, kind: str) -> None:
    """It may be what a command has moved there of the user's."""
    folder = nested / ".git"
    before = folder / "commondir.ostro-aside"
    if kind == "folder":
        before.mkdir()
        (before / "mine").write_text("mine")
    elif kind == "file":
        before.write_text("mine")
    else:
        (folder / "info" / "mine").write_text("mine")
        before.symlink_to("info/mine")
    box = await open_sandbox()
    for number in (2, 3):
        done = await box.workspace.run(["sh", "-c", f"echo evil {number} > .git/commondir"])
        name = f"commondir.ostro-aside-{number}"
        assert f"[renamed to *.ostro-aside, because git would act on it: .git/{name}]" in done.output
        assert (folder / name).read_text() == f"evil {number}\n"
    assert (before / "mine" if kind == "folder" else before).read_text() == "mine"
    assert before.is_symlink() is (kind == "link") and not (folder / "commondir").exists()


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


LOOKS = {
    "of a bare repository at the top": "mkdir objects refs; touch HEAD objects/x refs/x",
    "of one in a folder": "mkdir -p evil/objects evil/refs; touch evil/HEAD; mv vendor evil/vendor",
    "of a folder of worktrees": "mkdir worktrees; mv vendor worktrees/vendor",
}


@pytest.mark.parametrize("look", LOOKS)
@bare_and_sandboxed
async def test_no_looks_hide_a_repository(nested: Path, open_sandbox: Opener, look: str, bare: bool) -> None:
    await asyncio.to_thread(partial(subprocess.run, ["sh", "-ec", LOOKS[look]], cwd=nested, check=True))
    [inner] = nested.rglob("inner/.git")
    box = await open_sandbox(unsafe=bare)
    for folder in (nested / ".git", inner):
        before = (folder / "config").read_bytes()
        await box.workspace.run(["sh", "-c", f"echo x > {folder}/hooks/pre-commit; echo >> {folder}/config"])
        assert (folder / "hooks" / "pre-commit").exists() is bare
        assert ((folder / "config").read_bytes() != before) is bare


async def test_a_folder_of_any_name_is_no_git_folder(repo: Path, open_sandbox: Opener) -> None:
    (repo / "worktrees" / "app").mkdir(parents=True)
    (repo / "worktrees" / "app" / "config").write_text("x")
    box = await open_sandbox()
    await box.workspace.run(["sh", "-c", "echo y > worktrees/app/config"])
    assert (repo / "worktrees" / "app" / "config").read_text() == "y\n"
    assert not (repo / "worktrees" / "app" / "hooks").exists()


NEWS = {
    "half a repository": ("mkdir half; cp .git/HEAD half; echo ../.git > half/commondir", "half"),
    "a link to one": ("mkdir on; ln -s ../vendor/inner/.git on/.git", "on/.git"),
    "another link to one": ("ln -sfn ../bare vendor/link/.git", "vendor/link/.git (changed)"),
    "a folder that nobody sees into": (
        "git init -q shut/made; chmod 111 shut",
        "shut/made/.git" if os.getuid() == 0 else "shut (cannot be looked into)",
    ),
}


@pytest.mark.parametrize("name", NEWS)
async def test_what_git_would_act_on_is_news(nested: Path, open_sandbox: Opener, name: str) -> None:
    (nested / "vendor" / "link").mkdir()
    (nested / "vendor" / "link" / ".git").symlink_to("../inner/.git")
    script, expected = NEWS[name]
    box = await open_sandbox()
    assert await box.new_repositories() == []
    await box.workspace.run(["sh", "-c", script])
    assert await box.new_repositories() == [expected]


async def test_too_many_new_ones_are_an_error(nested: Path, box: Sandbox) -> None:
    await box.workspace.run(["sh", "-c", "for i in $(seq 305); do mkdir x$i; touch x$i/.git; done"])
    with pytest.raises(SandboxError, match="more than 300 git repositories"):
        await box.new_repositories()


SETTINGS = {
    "hooks in the workspace": ("core.hooksPath", ".githooks", ".githooks/pre-commit"),
    "hooks that are not there yet": ("core.hooksPath", "later", "later/pre-commit"),
    "settings in the workspace": ("include.path", "../.gitconfig", ".gitconfig"),
}


@pytest.mark.parametrize("name", SETTINGS)
@bare_and_sandboxed
async def test_what_the_configuration_names_stays(
    repo: Path, open_sandbox: Opener, name: str, bare: bool
) -> None:
    key, value, place = SETTINGS[name]
    if value != "later":
        (repo / place).parent.mkdir(exist_ok=True)
        (repo / place).write_text("")
    git(repo, "config", key, value)
    box = await open_sandbox(unsafe=bare)
    await box.workspace.run(["sh", "-c", f"mkdir -p $(dirname {place}); echo evil > {place}"])
    if not bare and value != "later":
        with pytest.raises(FileProblem):
            await box.workspace.write(place, b"evil\n")
    assert ((repo / place).exists() and (repo / place).read_text() == "evil\n") is bare


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_what_the_users_own_configuration_names_stays(
    nested: Path, tmp_path: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    """For all repositories at once: a folder of hooks in each."""
    settings = tmp_path / "gitconfig"
    settings.write_text("[core]\n\thooksPath = .githooks\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    hooks = [nested / tree / ".githooks" / "pre-commit" for tree in ("", "vendor/inner", "libs/module")]
    for hook in hooks[:2]:
        hook.parent.mkdir()
        hook.write_text("")
    box = await open_sandbox(unsafe=bare)
    for hook in hooks:
        script = 'mkdir -p "$(dirname "$1")"; echo evil > "$1"'
        await box.workspace.run(["sh", "-c", script, "sh", str(hook)])
        assert (hook.exists() and hook.read_text() == "evil\n") is bare


@pytest.mark.parametrize("key", ["core.hooksPath", "include.path"])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_what_is_named_from_the_home_folder_stays(
    home: Path, open_sandbox: Opener, key: str, bare: bool
) -> None:
    repo = home / "project"
    repo.mkdir()
    git(repo, "init", "--quiet")
    named = repo / "named" / ("pre-commit" if key == "core.hooksPath" else "settings")
    named.parent.mkdir()
    named.write_text("")
    value = named.parent if key == "core.hooksPath" else named
    git(repo, "config", key, f"~/{value.relative_to(home)}")
    box = await open_sandbox(repo, unsafe=bare)
    await box.workspace.run(["sh", "-c", 'echo evil > "$1"', "sh", str(named)])
    assert (named.read_text() == "evil\n") is bare


CLOSED = [".git", ".git/info", ".git/hooks", "vendor", "vendor/inner/.git"]


@pytest.mark.parametrize("closed", CLOSED)
async def test_a_command_can_close_the_repository(nested: Path, open_sandbox: Opener, closed: str) -> None:
    """Bare: and nobody opens it again. (As root it can be looked into all the same.)"""
    box = await open_sandbox(unsafe=True)
    await box.workspace.run(["chmod", "0", closed])
    assert stat.S_IMODE((nested / closed).stat().st_mode) == 0


@pytest.mark.parametrize("closed", CLOSED)
async def test_no_command_closes_the_repository(nested: Path, box: Sandbox, closed: str) -> None:
    done = await box.workspace.run(["chmod", "0", closed])
    assert "opened again, because git needs it" in done.output or done.exit_code != 0
    assert stat.S_IMODE((nested / closed).stat().st_mode) & stat.S_IRWXU == stat.S_IRWXU
    try:
        done = await box.workspace.run(["sh", "-c", "echo >> .git/config; echo on"])
    except SandboxError as problem:
        pytest.fail(str(problem))
    assert "Read-only" in done.output and done.output.endswith("on\n")
    assert await box.workspace.snapshot()


async def test_files_can_be_moved_beside_a_repository(nested: Path, box: Sandbox) -> None:
    """What is held fast is no mount that a file could not be moved across."""
    script = "echo x > libs/a.py; git add libs/a.py; git mv libs/a.py src/ && ln src/a.py vendor/b.py"
    assert (await box.workspace.run(["sh", "-c", script])).exit_code == 0
    assert (nested / "src" / "a.py").exists() and (nested / "vendor" / "b.py").exists()


async def test_without_a_sandbox_nothing_is_called_new(nested: Path, open_sandbox: Opener) -> None:
    assert await (await open_sandbox(unsafe=True)).new_repositories() == []


@bare_and_sandboxed
async def test_forks_are_guarded_too(nested: Path, open_sandbox: Opener, bare: bool) -> None:
    box = await open_sandbox(unsafe=bare)
    fork = await box.workspace.fork()
    for folder in (".git", "vendor/inner/.git"):
        done = await fork.run(["sh", "-c", f"echo '[core]' >> {folder}/config"])
        assert (done.exit_code == 0) is bare
    await fork.discard()


async def test_the_repository_stays_as_it_was(nested: Path, open_sandbox: Opener) -> None:
    before = sorted(str(path) for path in (nested / ".git").rglob("*"))
    box = await open_sandbox()
    await box.workspace.run(["git", "status"])
    await box.close()
    after = sorted(str(path) for path in (nested / ".git").rglob("*"))
    assert set(after) - set(before) <= {str(nested / ".git/worktrees/linked/hooks")}
