"""A rebase or a cherry-pick that has stopped: no command adds to it what the user's git would then do.

Each attack is a plain write of a command, and the user's own `git ... --continue` outside comes after it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sandbox import git_guard, git_unfinished

from .breaking_out import bare_and_sandboxed
from .conftest import Opener, git

IDENTITY = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
TODO = ".git/rebase-merge/git-rebase-todo"


def users(repo: Path, script: str) -> str:
    """What a user types outside; the output, for nothing has to go well."""
    environ = {**os.environ, **IDENTITY, "GIT_EDITOR": "true"}
    done = subprocess.run(["sh", "-c", script], cwd=repo, env=environ, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode()


@pytest.fixture
def forked(repo: Path) -> Path:
    """Two branches that differ in one line; `side` is checked out, and has two commits more."""
    (repo / "README.md").write_text("side\n")
    git(repo, "checkout", "--quiet", "-b", "side")
    git(repo, "commit", "--quiet", "--all", "--message", "s1")
    for name in ("s2", "s3"):
        (repo / "new").write_text(name)
        git(repo, "add", "new")
        git(repo, "commit", "--quiet", "--message", name)
    git(repo, "checkout", "--quiet", "-b", "other", "HEAD~3")
    (repo / "README.md").write_text("other\n")
    git(repo, "commit", "--quiet", "--all", "--message", "o1")
    git(repo, "checkout", "--quiet", "side")
    return repo


def stop_a_rebase(repo: Path, first: str = "") -> None:
    """At its first commit; then come `first` and the other one."""
    users(repo, f"GIT_SEQUENCE_EDITOR=\"sed -i -e '1s/pick/edit/' -e '1a {first}'\" git rebase -i HEAD~2")
    assert (repo / TODO).exists()


ADDED = {
    "exec": f"echo 'exec touch marker' >> {TODO}",
    "x": f"echo 'x touch marker' >> {TODO}",
    "tabs": f"printf ' \\t x\\ttouch marker\\n' >> {TODO}",
    "line ends of another system": f"printf 'exec touch marker\\r\\n' >> {TODO}",
    "another file": f"cp {TODO} t; echo 'x touch marker' >> t; mv t {TODO}",
    "instead of the user's": f"sed -i 's/^exec.*/exec touch marker/' {TODO}",
    "behind a megabyte": f"yes '# {'a' * 2000}' | head -n 600 >> {TODO}; echo 'x touch marker' >> {TODO}",
}


@pytest.mark.parametrize("how", ADDED)
@bare_and_sandboxed
async def test_no_line_is_added_to_a_rebase(repo: Path, open_sandbox: Opener, how: str, bare: bool) -> None:
    for name in ("one", "two"):
        git(repo, "commit", "--quiet", "--allow-empty", "--message", name)
    stop_a_rebase(repo, "exec true")
    box = await open_sandbox(unsafe=bare)
    done = await box.workspace.run(["sh", "-c", ADDED[how]])
    users(repo, "git rebase --continue")
    assert any((repo / name).exists() for name in ("marker", "marker\r")) is bare
    assert (f"renamed to *.ostro-aside, because git would act on it: {TODO}" in done.output) is not bare
    if not bare:  # and the user has it still
        assert (repo / f"{TODO}.ostro-aside").exists()
        users(repo, "git rebase --abort")
        assert not (repo / TODO).parent.exists()


@bare_and_sandboxed
async def test_no_rebase_is_made_up(repo: Path, open_sandbox: Opener, bare: bool) -> None:
    script = f"""
        mkdir .git/rebase-merge; cd .git/rebase-merge; : > interactive
        git rev-parse HEAD | tee onto > orig-head; git symbolic-ref HEAD > head-name
        echo 'x touch marker' > {Path(TODO).name}"""
    box = await open_sandbox(unsafe=bare)
    await box.workspace.run(["sh", "-c", script])
    users(repo, "git rebase --continue")
    assert (repo / "marker").exists() is bare


EVIL = (
    "mkdir git-merge-x; printf '#!/bin/sh\\ntouch marker\\n' > git-merge-x/evil; chmod 755 git-merge-x/evil; "
)
MERGING = {
    "a rebase": ("git rebase -i other", "echo x/evil > .git/rebase-merge/strategy", "git rebase --continue"),
    "a cherry-pick": (
        "git checkout -q other; git cherry-pick side~2 side~1 side",
        "printf '[options]\\nstrategy = x/evil\\n' > .git/sequencer/opts",
        "git cherry-pick --continue",
    ),
}


@pytest.mark.parametrize("what", MERGING)
@bare_and_sandboxed
async def test_no_program_merges(forked: Path, open_sandbox: Opener, what: str, bare: bool) -> None:
    """A strategy that git does not know is a program; with a slash in its name, one of the workspace."""
    start, attack, go_on = MERGING[what]
    assert "s1" in users(forked, f"GIT_SEQUENCE_EDITOR=true; export GIT_SEQUENCE_EDITOR; {start}")
    box = await open_sandbox(unsafe=bare)
    done = await box.workspace.run(["sh", "-c", f"{EVIL}{attack}"])
    users(forked, f"git checkout -q --theirs README.md; git add README.md; {go_on}")
    assert (forked / "marker").exists() is bare
    assert ("renamed to *.ostro-aside" in done.output) is not bare
    if not bare:
        assert git(forked, "log", "--format=%s", "-3").split() == ["s3", "s2", "s1"], "what was begun goes on"


@bare_and_sandboxed
async def test_no_patch_writes_elsewhere(
    forked: Path, outside: Path, open_sandbox: Opener, bare: bool
) -> None:
    users(forked, "git rebase --apply other")
    option = f" '--build-fake-ancestor={outside}'"
    box = await open_sandbox(unsafe=bare)
    await box.workspace.run(["sh", "-c", 'echo "$1" > .git/rebase-apply/apply-opt', "sh", option])
    users(forked, "git checkout -q --theirs README.md; git add README.md; git rebase --continue")
    assert (outside.read_bytes() != b"untouched") is bare


PUSHED = {"remotes": "URL: $PWD/evil", "branches": "$PWD/evil"}


@pytest.mark.parametrize("where", PUSHED)
@bare_and_sandboxed
async def test_no_remote_is_made_up(repo: Path, open_sandbox: Opener, where: str, bare: bool) -> None:
    """Where the configuration knows none, `origin` is looked for in these."""
    script = f"""
        git init -q --bare evil; printf '#!/bin/sh\\ntouch {repo}/marker\\n' > evil/hooks/pre-receive
        chmod 755 evil/hooks/pre-receive
        mkdir -p .git/{where}; echo "{PUSHED[where]}" > .git/{where}/origin"""
    box = await open_sandbox(unsafe=bare)
    await box.workspace.run(["sh", "-c", script])
    users(repo, "git push origin HEAD")
    assert (repo / "marker").exists() is bare


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
async def test_the_users_own_lines_stay(repo: Path, open_sandbox: Opener, inside: bool) -> None:
    for name in ("one", "two"):
        git(repo, "commit", "--quiet", "--allow-empty", "--message", name)
    stop_a_rebase(repo, "exec touch mine")
    box = await open_sandbox()
    done = await box.workspace.run(["git", "status"])
    assert "exec touch mine" in done.output and "ostro-aside" not in done.output
    go_on = "git -c user.name=t -c user.email=t rebase --continue"
    said = (await box.workspace.run(["sh", "-c", go_on])).output if inside else users(repo, go_on)
    assert "Successfully rebased" in said and "ostro-aside" not in said
    assert (repo / "mine").exists()


async def test_rebases_inside_go_on(forked: Path, open_sandbox: Opener) -> None:
    """From one command to the next, with all that git itself writes."""
    box = await open_sandbox()
    git_ = "git -c user.name=t -c user.email=t"
    resolved = "git checkout -q --theirs README.md && git add README.md && GIT_EDITOR=true"
    for branch, start, go_on in (
        ("side", "rebase -s ort -X patience other", "rebase --continue"),
        ("side", "rebase --apply --whitespace=fix -C2 other", "rebase --continue"),
        ("other", "cherry-pick --strategy=ort side~2 side~1 side", "cherry-pick --continue"),
    ):
        await box.workspace.run(["git", "checkout", "-q", "-B", "tried", branch])
        said = (await box.workspace.run(["sh", "-c", f"{git_} {start}"])).output
        assert "s1" in said and "ostro-aside" not in said
        done = await box.workspace.run(["sh", "-c", f"{resolved} {git_} {go_on}"])
        assert done.exit_code == 0 and "ostro-aside" not in done.output, done.output
        assert git(forked, "log", "--format=%s", "-3", "tried").split() == ["s3", "s2", "s1"]


async def test_a_rebase_with_programs_in_one_command(repo: Path, open_sandbox: Opener) -> None:
    git(repo, "commit", "--quiet", "--allow-empty", "--message", "one")
    box = await open_sandbox()
    done = await box.workspace.run(
        ["sh", "-c", "git -c user.name=t -c user.email=t rebase -x 'touch run' HEAD~1"]
    )
    assert done.exit_code == 0 and (repo / "run").exists() and "ostro-aside" not in done.output


def test_where_nothing_is_put_aside_it_is_said(repo: Path) -> None:
    before = git_guard.survey(repo)
    (repo / TODO).parent.mkdir()
    (repo / TODO).write_text("pick 1\n")
    assert git_guard.changed_since(repo, before) == []
    (repo / TODO).write_text("pick 1\nexec evil\n")
    assert git_guard.changed_since(repo, before) == [".git"]


def test_what_is_read(tmp_path: Path) -> None:
    for name in ("rebase-merge", "sequencer", "rebase-apply"):
        (tmp_path / name).mkdir()
    (tmp_path / "rebase-merge/git-rebase-todo").write_text(
        "pick x exec\n# exec a\nbreak\nexecute b\nxx c\nexec\n"
    )
    (tmp_path / "rebase-merge/strategy").write_text("ort\n")
    (tmp_path / "sequencer/opts").write_text(
        "[options]\n\tmainline = 1\n\tstrategy = ort\n\tstrategy-option = ours\n"
    )
    (tmp_path / "rebase-apply/apply-opt").write_text(" '--whitespace=fix' '-C2'\n")
    assert git_unfinished.orders(tmp_path) == {("rebase-merge/git-rebase-todo", b"exec")}
    (tmp_path / "sequencer/opts").write_text("[options] Strategy = \\\n/evil\n")
    (tmp_path / "rebase-merge/strategy").write_text("ort\n/evil")
    (tmp_path / "rebase-apply/apply-opt").write_text(" '-C2' '--bu'\\!'ild-fake-ancestor=x'")
    names = {name for name, _words in git_unfinished.orders(tmp_path)}
    assert names == {"rebase-merge/git-rebase-todo", "rebase-merge/strategy", "sequencer/opts",
                     "rebase-apply/apply-opt"}  # fmt: skip
