"""Commits and refs through the sandbox: exactly the files, and none of the configuration's programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sandbox import Author, Head, History, HistoryProblem, NotARepository, Sandbox
from sandbox.repository import find_repository

from .conftest import Opener, git

AUTHOR = Author("Ada Lovelace", "ada@example.org", "@1700000000 +0100")
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def history(box: Sandbox) -> History:
    return box.history


async def commit(
    history: History, paths: list[str], message: str = "Change\n", onto: Head | None = None
) -> str:
    return await history.commit(paths, message, AUTHOR, onto or await history.head())


def files_of(repo: Path, commit: str) -> list[str]:
    listed = git(repo, "diff-tree", "--root", "-r", "-z", "--no-commit-id", "--name-status", commit).split(
        "\0"
    )
    return [f"{kind} {path}" for kind, path in zip(listed[::2], listed[1::2], strict=False)]


def state(repo: Path) -> str:
    return git(repo, "status", "--porcelain=v1", "-z", "--untracked-files=all").replace("\0", "\n")


def test_gitpython_stays_out_of_this_process() -> None:
    program = (
        "import asyncio, sys, tui.command_line, agent.session\n"
        "from pathlib import Path\n"
        "from sandbox import Sandbox\n"
        "async def main():\n"
        "    async with await Sandbox.open(Path(sys.argv[1]), unsafe=True) as box:\n"
        "        print(await box.history.head())\n"
        "asyncio.run(main())\n"
        "print(sorted({'git', 'gitdb', 'smmap'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Head(branch=" in done.stdout
    assert done.stdout.endswith("[]\n")


async def test_exactly_the_files_and_the_author(repo: Path, history: History) -> None:
    (repo / "README.md").write_text("the user's, staged\n")
    git(repo, "add", "README.md")
    (repo / "README.md").write_text("the user's, not staged\n")
    (repo / "notes").write_text("the user's, untracked\n")
    (repo / "src" / "calc.py").write_text("def add(a, b):\n    return b + a\n")
    (repo / "src" / "new.py").write_text("x = 1\n")
    before = git(repo, "rev-parse", "HEAD").strip()

    made = await commit(history, ["src/calc.py", "src/new.py"], "Add the other way round\n\nWith a body.\n")

    assert git(repo, "rev-parse", "HEAD", "HEAD^").split() == [made, before]
    assert files_of(repo, made) == ["M src/calc.py", "A src/new.py"]
    shown = git(repo, "show", "--no-patch", "--format=%an|%ae|%ad|%cn|%ce|%B", "--date=raw", made)
    assert shown.rstrip() == (
        "Ada Lovelace|ada@example.org|1700000000 +0100|Ada Lovelace|ada@example.org|"
        "Add the other way round\n\nWith a body."
    )
    assert state(repo) == "MM README.md\n?? notes\n"
    assert git(repo, "show", ":README.md") == "the user's, staged\n"
    assert git(repo, "reflog", "-1", "--format=%gs") == "commit: Add the other way round\n"
    assert not (repo / ".git" / "index.lock").exists()


async def test_every_kind_of_change(repo: Path, history: History) -> None:
    odd = ["new\nline", "tab\t'\"", os.fsdecode(b"latin-\xe9"), "-n", ":(glob)*", " space "]
    (repo / "folder").mkdir()
    (repo / "folder" / "a").write_text("a\n")
    (repo / "single").write_text("was a file\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "more")
    for name in odd:
        (repo / name).write_text(name, errors="surrogateescape")
    (repo / "README.md").chmod(0o755)
    (repo / "src" / "calc.py").unlink()
    (repo / "link").symlink_to("src/nowhere")
    (repo / "folder" / "a").unlink()
    (repo / "folder").rmdir()
    (repo / "folder").write_text("now a file\n")
    (repo / "single").unlink()
    (repo / "single").mkdir()
    (repo / "single" / "inner").write_text("now a folder\n")

    changed = [*odd, "README.md", "src/calc.py", "link", "folder", "folder/a", "single", "single/inner"]
    made = await commit(history, changed)

    assert state(repo) == ""
    assert sorted(line[2:] for line in files_of(repo, made)) == sorted(changed)
    listed = git(repo, "ls-tree", "-r", "-z", made).split("\0")
    modes = {path: info for info, _, path in (entry.partition("\t") for entry in listed)}
    assert modes["README.md"].startswith("100755") and modes["link"].startswith("120000")


async def test_line_ends_are_the_repositorys(repo: Path, history: History) -> None:
    (repo / ".gitattributes").write_text("*.txt text eol=crlf\n*.id ident\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "attributes")
    (repo / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    (repo / "a.id").write_bytes(b"$Id: 123 $\n")
    made = await commit(history, ["a.txt", "a.id"])
    assert git(repo, "cat-file", "blob", f"{made}:a.txt") == "one\ntwo\n"
    assert git(repo, "cat-file", "blob", f"{made}:a.id") == "$Id$\n"
    assert state(repo) == ""


MARKER = "STARTED"
STARTS = {
    "fsmonitor": "[core]\n\tfsmonitor = {p}\n",
    "hooks": "[core]\n\thooksPath = hooks-of-tree\n",
    "signing": "[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {p}\n[user]\n\tsigningKey = x\n",
    "pager and editor": "[core]\n\tpager = {p}\n\teditor = {p}\n",
    "aliases": "[alias]\n\tst = !{p}\n\tstatus = !{p}\n\tupdate-index = !{p}\n\tcommit-tree = !{p}\n",
    "clean": "[filter \"f\"]\n\tclean = {p}\n\tsmudge = {p}\n\trequired = true\n",
    "process": "[filter \"f\"]\n\tprocess = {p}\n\trequired = true\n",
    "diff": "[diff]\n\texternal = {p}\n[diff \"d\"]\n\ttextconv = {p}\n\tcommand = {p}\n",
    "credentials": "[credential]\n\thelper = !{p}\n[core]\n\taskPass = {p}\n\tsshCommand = {p}\n",
    "include": "[include]\n\tpath = ../included\n",
    "elsewhere": "[core]\n\tworktree = {outside}\n",
    "promisor": "[extensions]\n\tpartialClone = o\n[remote \"o\"]\n\tpromisor = true\n"
    "\turl = {outside}\n\tuploadpack = {p}\n",
    "newer hooks": "[hook \"h\"]\n\tcommand = {p}\n\tevent = reference-transaction\n"
    "\tevent = post-index-change\n",
}  # fmt: skip
TRIGGERS = {
    "aliases": ["st"],
    "credentials": ["ls-remote", "ssh://example.invalid/x"],
    "promisor": ["fetch", "o"],
    "diff": ["diff"],
    "pager and editor": ["commit", "--all"],
}
"""What runs those that git runs neither for a status nor for the commit of a file."""
UNKNOWN = {"elsewhere", "newer hooks"}
"""Nothing for git to run: files elsewhere, and what the git here does not know yet."""


@pytest.fixture
def hostile(repo: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The repository with one kind of configuration; what it starts makes a file in an outside folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    # Inside, the folder outside cannot be written, so it tries the workspace as well.
    program = repo / "evil"
    program.write_text(f"#!/bin/sh\ntouch {outside}/{MARKER} {repo}/{MARKER}\ncat\n")
    program.chmod(0o755)
    (repo / "hooks-of-tree").mkdir()
    for name in ("pre-commit", "post-commit", "commit-msg", "reference-transaction", "post-index-change"):
        (repo / "hooks-of-tree" / name).symlink_to("../evil")
        (repo / ".git" / "hooks" / name).unlink(missing_ok=True)
    (repo / "included").write_text(f"[core]\n\tfsmonitor = {program}\n\thooksPath = hooks-of-tree\n")
    (repo / ".gitattributes").write_text("*.py filter=f diff=d\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "hostile")
    for line in (outside, repo):
        (line / MARKER).unlink(missing_ok=True)
    config = STARTS[request.param].format(p=program, outside=outside)
    with (repo / ".git" / "config").open("a") as file:
        file.write(config)
    return repo


def marked(repo: Path, tmp_path: Path) -> bool:
    return (tmp_path / "outside" / MARKER).exists() or (repo / MARKER).exists()


@pytest.mark.parametrize(
    ("hostile", "name"), [(name, name) for name in STARTS if name not in UNKNOWN], indirect=["hostile"]
)
def test_bare_git_runs_them(hostile: Path, tmp_path: Path, name: str) -> None:
    (hostile / "src" / "calc.py").write_text("pass\n")
    usual = (["status"], ["commit", "--all", "--message", "x"])
    identity = ("-c", "user.name=T", "-c", "user.email=t@e")
    for argv in [TRIGGERS[name]] if name in TRIGGERS else usual:
        with contextlib.suppress(subprocess.TimeoutExpired):  # what is no server lets git wait
            subprocess.run(
                ["git", *identity, *argv], cwd=hostile, stdin=subprocess.DEVNULL, timeout=2, check=False
            )
    assert marked(hostile, tmp_path)


@pytest.mark.parametrize("hostile", list(STARTS), indirect=True)
async def test_nothing_of_the_configuration_runs(hostile: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    box = await open_sandbox()
    (hostile / "src" / "calc.py").write_text("pass\n")
    (hostile / "README.md").write_text("changed\n")
    (hostile / ".gitattributes").touch()

    assert "src/calc.py" in await box.history.uncommitted()
    await box.history.refs()
    made = await commit(box.history, ["README.md"])

    assert not marked(hostile, tmp_path)
    (hostile / ".git" / "config").write_text("[core]\n\tbare = false\n")
    assert files_of(hostile, made) == ["M README.md"]


@pytest.mark.parametrize("hostile", ["clean", "process"], indirect=True)
async def test_what_a_filter_would_store_is_not_committed(hostile: Path, open_sandbox: Opener) -> None:
    box = await open_sandbox()
    (hostile / "src" / "calc.py").write_text("pass\n")
    before = git(hostile, "rev-parse", "HEAD")
    with pytest.raises(HistoryProblem, match=r"^src/calc.py would be stored through a filter \(f\)"):
        await commit(box.history, ["src/calc.py"])
    assert git(hostile, "rev-parse", "HEAD") == before


async def test_an_embedded_bare_repository_is_not_entered(
    repo: Path, tmp_path: Path, open_sandbox: Opener
) -> None:
    git(repo, "init", "--quiet", "--bare", "bare")
    git(repo / "bare", "--git-dir=.", "--work-tree=.", "add", "HEAD")
    with (repo / "bare" / "config").open("a") as file:
        file.write(f"[core]\n\tbare = false\n\tfsmonitor = touch {repo}/{MARKER}\n\tworktree = {tmp_path}\n")
    entered = partial(subprocess.run, ["git", "status"], cwd=repo / "bare", capture_output=True)
    await asyncio.to_thread(entered)
    assert (repo / MARKER).exists(), "who enters it runs it"
    (repo / MARKER).unlink()
    box = await open_sandbox()
    (repo / "bare" / "description").write_text("changed\n")
    made = await commit(box.history, ["bare/description"])
    assert files_of(repo, made) == ["A bare/description"]
    assert not (repo / MARKER).exists()


async def test_linked_worktree(repo: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "--quiet", "-b", "side", str(linked))
    main = git(repo, "rev-parse", "HEAD")
    box = await open_sandbox(linked)
    (linked / "README.md").write_text("of the side\n")
    made = await commit(box.history, ["README.md"])
    assert git(repo, "rev-parse", "side").strip() == made
    assert git(repo, "rev-parse", "HEAD") == main
    assert state(linked) == state(repo) == ""
    # Only the service may write there.
    there = repo / ".git"
    await box.workspace.run(
        ["sh", "-c", f"touch {there}/x {there}/refs/heads/x; echo > {there}/refs/heads/side"]
    )
    assert not (there / "x").exists()
    assert git(repo, "rev-parse", "side").strip() == made
    bare = await open_sandbox(linked, unsafe=True)
    await bare.workspace.run(["touch", f"{there}/x"])
    assert (there / "x").exists()


async def test_in_git_folders_outside_nothing_that_starts_programs_can_be_written(
    repo: Path, tmp_path: Path, open_sandbox: Opener
) -> None:
    from sandbox.history import _policy

    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "--quiet", "-b", "side", str(linked))
    box = await open_sandbox(linked)
    room, found = box._room, find_repository(linked)
    policy = _policy(box.workspace._policy, found)
    script = f"cd {repo}/.git && touch ok; echo >> config; touch hooks/pre-commit; mv config c; mv hooks h"
    await room.launcher.run(policy, ["sh", "-c", script], cwd=linked, limits=room.limits)
    assert (repo / ".git" / "ok").exists(), "or nothing was tried"
    assert "\n\n" not in (repo / ".git" / "config").read_text()
    assert not (repo / ".git" / "hooks" / "pre-commit").exists()
    assert not (repo / ".git" / "h").exists() and not (repo / ".git" / "c").exists()
    bare = await open_sandbox(linked, unsafe=True)
    await bare.workspace.run(["sh", "-c", script])
    assert (repo / ".git" / "h" / "pre-commit").exists()
    assert "\n\n" in (repo / ".git" / "c").read_text()


async def test_submodule(repo: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "a").write_text("a\n")
    git(other, "add", "a")
    git(other, "commit", "--quiet", "--message", "start")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "libs/module")
    module = repo / "libs" / "module"
    box = await open_sandbox(module)
    (module / "a").write_text("b\n")
    made = await commit(box.history, ["a"])
    assert git(module, "rev-parse", "HEAD").strip() == made
    assert state(module) == ""


@pytest.mark.parametrize("format", ["sha1", "sha256"])
async def test_unborn_branch(tmp_path: Path, home: Path, open_sandbox: Opener, format: str) -> None:
    repo = tmp_path / "young"
    repo.mkdir()
    git(repo, "init", "--quiet", f"--object-format={format}", "-b", "trunk")
    (repo / "mine").write_text("staged\n")
    git(repo, "add", "mine")
    (repo / "a").write_text("a\n")
    box = await open_sandbox(repo)
    assert await box.history.head() == Head("refs/heads/trunk", None)
    assert sorted(await box.history.uncommitted()) == ["a", "mine"]
    first = await commit(box.history, ["a"])
    (repo / "a").write_text("b\n")
    second = await commit(box.history, ["a"])
    assert len(first) == (40 if format == "sha1" else 64)
    assert git(repo, "log", "--format=%H").split() == [second, first]
    assert (await box.history.refs())["refs/heads/trunk"] == second
    assert files_of(repo, first) == ["A a"]
    assert state(repo) == "A  mine\n"


async def test_detached(repo: Path, history: History) -> None:
    git(repo, "checkout", "--quiet", "--detach")
    (repo / "README.md").write_text("changed\n")
    made = await commit(history, ["README.md"])
    assert await history.head() == Head(None, made)
    assert git(repo, "rev-parse", "HEAD", "HEAD~1").split() == [made, git(repo, "rev-parse", "@{-1}").strip()]


OPERATIONS = {
    "merge": ["merge", "side"],
    "rebase": ["rebase", "side"],
    "cherry-pick": ["cherry-pick", "side"],
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_in_the_middle_of_something(repo: Path, history: History, operation: str) -> None:
    git(repo, "checkout", "--quiet", "-b", "side")
    (repo / "README.md").write_text("side\n")
    git(repo, "commit", "--quiet", "--all", "--message", "side")
    git(repo, "checkout", "--quiet", "-")
    (repo / "README.md").write_text("main\n")
    git(repo, "commit", "--quiet", "--all", "--message", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, *OPERATIONS[operation])
    assert (await history.head()).in_progress == operation
    (repo / "src" / "calc.py").write_text("pass\n")
    before = git(repo, "rev-parse", "HEAD")
    with pytest.raises(HistoryProblem, match=f"^A {operation} is in progress"):
        await commit(history, ["src/calc.py"])
    assert git(repo, "rev-parse", "HEAD") == before


async def test_a_branch_that_moved(repo: Path, history: History) -> None:
    head, refs = await history.head(), await history.refs()
    (repo / "src" / "calc.py").write_text("pass\n")
    git(repo, "commit", "--quiet", "--allow-empty", "--message", "by the user")
    git(repo, "tag", "light")
    with pytest.raises(HistoryProblem, match="has moved since the start"):
        await commit(history, ["src/calc.py"], onto=head)
    git(repo, "reset", "--quiet", "--soft", "HEAD~1")
    git(repo, "checkout", "--quiet", "-b", "other")
    with pytest.raises(HistoryProblem, match=r"^refs/heads/other is checked out by now"):
        await commit(history, ["src/calc.py"], onto=head)
    assert git(repo, "rev-parse", "HEAD").strip() == head.commit
    now = await history.refs()
    assert {name for name in now if now[name] != refs.get(name)} == {
        "HEAD",
        "refs/heads/other",
        "refs/tags/light",
    }


async def test_another_git_at_work(repo: Path, history: History) -> None:
    (repo / "README.md").write_text("changed\n")
    lock = repo / ".git" / "index.lock"
    lock.write_text("")
    before = git(repo, "rev-parse", "HEAD")
    with pytest.raises(HistoryProblem, match="Another git is at work"):
        await commit(history, ["README.md"])
    assert lock.exists(), "it is not ours to remove"
    assert git(repo, "rev-parse", "HEAD") == before


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
async def test_a_file_that_git_is_told_not_to_look_at(repo: Path, history: History, flag: str) -> None:
    git(repo, "update-index", flag, "README.md")
    (repo / "README.md").write_text("changed\n")
    with pytest.raises(HistoryProblem, match=r"^README.md is marked in the index"):
        await commit(history, ["README.md"])
    assert git(repo, "show", ":README.md") == "read me\n"


@pytest.mark.parametrize("paths", [["../x"], ["/etc/passwd"], [".git/config"], ["vendor/inner/a"]])
async def test_a_path_that_is_no_file_of_the_repository(
    repo: Path, history: History, paths: list[str]
) -> None:
    git(repo, "init", "--quiet", "vendor/inner")
    (repo / "vendor" / "inner" / "a").write_text("a\n")
    git(repo / "vendor" / "inner", "add", "a")
    git(repo / "vendor" / "inner", "commit", "--quiet", "--message", "inner")
    git(repo, "-c", "advice.addEmbeddedRepo=false", "add", "vendor/inner")
    git(repo, "commit", "--quiet", "--message", "as a submodule")
    before = git(repo, "rev-parse", "HEAD")
    with pytest.raises(HistoryProblem):
        await commit(history, paths)
    assert git(repo, "rev-parse", "HEAD") == before
    assert state(repo) == ""


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("A <b> c\n\nd", "a@b\nc"),
        ("Zoë \N{SNOWMAN}", "<zoe@example.org>"),
        ("$(touch x) `y`", "a b@c"),
        ("'\"", "x"),
    ],
)
async def test_odd_authors_stay_one_line(repo: Path, history: History, name: str, email: str) -> None:
    (repo / "README.md").write_text("changed\n")
    author = Author(name, email, "@1700000000 +0000")
    if name == "'\"":
        with pytest.raises(HistoryProblem, match="commit-tree"):
            await history.commit(["README.md"], "m\n", author, await history.head())
        return
    made = await history.commit(["README.md"], "m\n", author, await history.head())
    header = git(repo, "cat-file", "commit", made).partition("\n\n")[0].splitlines()
    assert [line.split(" ")[0] for line in header] == ["tree", "parent", "author", "committer"]
    assert header[2].count("<") == header[2].count(">") == 1


async def test_the_service_is_started_anew(repo: Path, history: History) -> None:
    head = await history.head()
    assert history._service is not None
    await history._service.stop()
    assert await history.head() == head


def test_a_tree_cannot_name_any_folder_as_its_git_folder(tmp_path: Path, home: Path) -> None:
    """As in an archive: `.git` points to a folder of the tree, whose `commondir` leads to the user's."""
    tree = tmp_path / "tree"
    (tree / "x").mkdir(parents=True)
    (tree / ".git").write_text("gitdir: x\n")
    (tree / "x" / "gitdir").write_text(f"{tree}/.git\n")
    (tree / "x" / "commondir").write_text(f"{home}/.ssh\n")
    # Were it a repository's, plain git would take it.
    (tree / "x" / "HEAD").write_text("ref: refs/heads/x\n")
    for folder in ("objects", "refs"):
        (home / ".ssh" / folder).mkdir()
    assert git(tree, "rev-parse", "--git-common-dir").strip() == f"{home}/.ssh"
    with pytest.raises(NotARepository, match="is not where git keeps a worktree"):
        find_repository(tree)
