"""`--commit`: a run that ended well leaves one commit with exactly its files, by the user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import cast

import pytest

from agent.committing import SUBJECT, message
from agent.ending import EnvironmentProblem, WrongUsage
from agent.events import Warn
from agent.identity import Identity, identity
from agent.options import RunOptions
from tests.agent.running import PYTHON, Ran, run
from tests.agent.search.knowing_engine import KnowingEngine
from tests.conftest import GitRepo
from tests.scripted_engine import ScriptedEngine, call, say

CHECK = "import sums, sys; sys.exit(sums.add(2, 2) != 4)\n"
BROKEN, RIGHT = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"


@pytest.fixture(autouse=True)
def global_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's, with another identity than the repository's own configuration has."""
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "EMAIL"):
        monkeypatch.setenv(name, "of the environment")
    return config


def git(repo: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=repo, check=True, capture_output=True, text=True).stdout


def head(repo: Path) -> str:
    return git(repo, "rev-parse", "HEAD").strip()


async def write(repo: Path, path: str = "a.txt", content: str = "new\n", **options) -> Ran:
    options = {"commit": True, **options}
    return await run(repo, [call("write", path=path, content=content), say("Done.")], **options)


async def test_one_commit_by_the_user(git_repo: GitRepo) -> None:
    repo = git_repo({"old.txt": "old\n", "mine.txt": "mine\n"})
    before = head(repo)
    (repo / "mine.txt").write_text("staged\n")
    git(repo, "add", "mine.txt")
    (repo / "other.txt").write_text("untracked\n")
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\ntouch hooked\nexit 1\n")
    hook.chmod(0o755)
    git(repo, "config", "commit.gpgSign", "true")

    ran = await write(repo, task="Write the file.\nAnd so on.")

    end = ran.end
    assert (end.outcome, end.exit_code, end.commit) == ("done", 0, head(repo))
    assert "hooks and signing did not run" in end.reason
    assert git(repo, "log", "--format=%P|%an <%ae>|%cn <%ce>|%G?|%s", "-1").strip() == (
        f"{before}|Ada Lovelace <ada@example.org>|Ada Lovelace <ada@example.org>|N|Write the file."
    )
    assert "Generated-by: Ostro " in git(repo, "log", "-1", "--format=%B")
    assert git(repo, "show", "--format=", "--name-only").split() == ["a.txt"] == end.changed_files
    assert git(repo, "status", "--porcelain").splitlines() == ["M  mine.txt", "?? other.txt"]
    assert not (repo / "hooked").exists()
    assert not [event.text for event in ran.of(Warn) if "Moved" in event.text]


@pytest.mark.parametrize(
    "command",
    [
        "mv d e && ln -s e d",
        "rm -r d && ln -s /nowhere d",
        "rm -r d && echo > d",
        "rm x && mkdir x && echo > x/y",
    ],
)
async def test_folders_files_and_links_in_each_others_place(git_repo: GitRepo, command: str) -> None:
    repo = git_repo({"d/inner/file": "1\n", "d/other": "2\n", "x": "3\n"})
    ran = await run(repo, [call("shell", command=command), say("Done.")], commit=True)
    assert (ran.end.outcome, ran.end.commit) == ("done", head(repo)), ran.end.reason
    named = git(repo, "diff", "--no-renames", "--name-only", "HEAD^", "HEAD").split()
    assert named == ran.end.changed_files and git(repo, "status", "--porcelain") == ""


async def test_without_it_nothing_is_committed(git_repo: GitRepo) -> None:
    repo = git_repo({})
    before = head(repo)
    ran = await write(repo, commit=False)
    assert (ran.end.commit, ran.end.reason, head(repo)) == (None, "", before)


async def test_fix_says_what_passes(git_repo: GitRepo) -> None:
    repo = git_repo({"sums.py": BROKEN, "check.py": CHECK})
    engine = KnowingEngine(RIGHT)
    ran = await run(
        repo,
        engine=cast(ScriptedEngine, engine),
        kind="fix",
        command=[PYTHON, "check.py"],
        commit=True,
        task=None,
    )
    assert (ran.end.outcome, ran.end.verified, ran.end.commit) == ("done", True, head(repo)), ran.end.reason
    body = git(repo, "log", "-1", "--format=%B")
    assert body.startswith(f"Make `{PYTHON} check.py` pass\n\nPasses: {PYTHON} check.py\n")


async def test_unverified_is_not_committed(git_repo: GitRepo) -> None:
    repo = git_repo({"sums.py": BROKEN, "check.py": CHECK})
    before = head(repo)
    answers = [call("write", path="a.txt", content="x\n"), *[say("Done.") for _ in range(8)]]
    ran = await run(repo, answers, verify=[PYTHON, "check.py"], commit=True)
    assert (ran.end.outcome, ran.end.commit, head(repo)) == ("unsolved", None, before)


async def test_a_limit_is_not_committed(git_repo: GitRepo) -> None:
    repo = git_repo({})
    before = head(repo)
    ran = await write(repo, max_steps=1)
    assert (ran.end.outcome, ran.end.commit, head(repo)) == ("limit", None, before)


@pytest.mark.parametrize("how", ["changed", "staged", "untracked"])
async def test_what_held_changes_of_the_users_is_not_committed(git_repo: GitRepo, how: str) -> None:
    repo = git_repo({"a.txt": "old\n"})
    before = head(repo)
    path = "new.txt" if how == "untracked" else "a.txt"
    (repo / path).write_text("the user's\n")
    if how == "staged":
        git(repo, "add", path)
    status = git(repo, "status", "--porcelain")

    ran = await run(
        repo,
        [
            call("write", path="b.txt", content="x\n"),
            call("edit", path=path, old="user's", new="model's"),
            say("Done."),
        ],
        commit=True,
    )

    assert set(ran.end.changed_files) == {"b.txt", path}, ran.end
    assert (ran.end.outcome, ran.end.exit_code, ran.end.commit) == ("environment", 3, None)
    assert ran.end.reason.startswith(f"Done, but not committed: {path} had changes of yours before")
    assert head(repo) == before
    assert (repo / path).read_text() == "the model's\n"
    assert set(status.splitlines()) <= {*git(repo, "status", "--porcelain").splitlines(), f"M  {path}"}


async def test_a_branch_that_the_user_moved_meanwhile(git_repo: GitRepo) -> None:
    repo = git_repo({})

    class Meanwhile(ScriptedEngine):
        async def chat(self, request):
            if len(self.requests) == 1:
                git(repo, "commit", "--quiet", "--allow-empty", "-m", "by the user")
                git(repo, "tag", "light")
            async for delta in super().chat(request):
                yield delta

    ran = await run(
        repo, engine=Meanwhile([call("write", path="a.txt", content="x\n"), say("Done.")]), commit=True
    )
    assert ran.end.commit is None and "refs/heads/main has moved since the start" in ran.end.reason
    assert git(repo, "log", "-1", "--format=%s") == "by the user\n"
    assert (repo / "a.txt").exists()
    [told] = [event.text for event in ran.of(Warn) if "Moved" in event.text]
    assert "refs/heads/main was" in told and "refs/tags/light is new" in told


async def test_a_command_that_moves_a_ref_is_told(git_repo: GitRepo) -> None:
    repo = git_repo({})
    command = "cp .git/refs/heads/main .git/refs/heads/sly"
    ran = await run(repo, [call("shell", command=command), say("Done.")])
    assert any("refs/heads/sly is new" in event.text for event in ran.of(Warn))


async def test_refs_that_cannot_be_read_any_more_are_told(git_repo: GitRepo) -> None:
    ran = await run(git_repo({}), [call("shell", command="rm -rf .git/HEAD"), say("Done.")])
    assert ran.end.outcome == "done"
    [told] = [event.text for event in ran.of(Warn) if "`git for-each-ref` failed" in event.text]
    assert "are kept: `cp -rn " in told


async def test_what_does_not_move_is_not_told(git_repo: GitRepo) -> None:
    ran = await run(git_repo({}), [call("shell", command="git status; git add ."), say("Done.")])
    assert not [event for event in ran.of(Warn) if "Moved" in event.text]


async def test_a_merge_in_progress(git_repo: GitRepo) -> None:
    repo = git_repo({"a.txt": "old\n"})
    (repo / ".git" / "MERGE_HEAD").write_text(f"{head(repo)}\n")
    ran = await write(repo, "b.txt")
    assert (ran.end.exit_code, ran.end.commit) == (3, None)
    assert ran.end.reason.startswith("Done, but not committed: A merge is in progress")
    assert "--resume" not in ran.end.reason, "the work is done: there is nothing to go on with"
    assert any("A merge is in progress" in event.text for event in ran.of(Warn))
    assert (repo / "b.txt").exists()


async def test_a_resumed_session_commits_what_all_of_it_changed(git_repo: GitRepo) -> None:
    repo = git_repo({"mine.txt": "old\n"})
    (repo / "mine.txt").write_text("mine\n")
    first = await write(repo, max_steps=1)
    assert first.end.outcome == "limit"
    second = await run(
        repo, [call("write", path="b.txt", content="b\n"), say("Done.")], resume=first.session, max_steps=9
    )
    assert git(repo, "show", "--format=", "--name-only").split() == ["a.txt", "b.txt"]
    assert second.end.commit == head(repo)


async def test_a_name_that_looks_like_a_secret_is_compared_as_it_is(git_repo: GitRepo) -> None:
    name = f"ghp_{'a' * 36}.txt"
    repo = git_repo({name: "old\n"})
    (repo / name).write_text("mine\n")
    first = await write(repo, max_steps=1)
    second = await run(
        repo, [call("write", path=name, content="b\n"), say("Done.")], resume=first.session, max_steps=9
    )
    assert second.end.commit is None and f"{name} had changes of yours before" in second.end.reason


async def test_a_session_that_began_without_it(git_repo: GitRepo) -> None:
    repo = git_repo({})
    first = await write(repo, commit=False, max_steps=1)
    with pytest.raises(WrongUsage, match="began without --commit"):
        await run(repo, [], resume=first.session, commit=True)


async def test_nothing_can_be_committed_in_read_only(git_repo: GitRepo) -> None:
    with pytest.raises(WrongUsage, match="read-only writes nothing"):
        await write(git_repo({}), approve="read-only")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("", ["user.name", "user.email"]),
        ("[user]\n\tname = Ada\n", ["user.email"]),
        ('[user]\n\tname = " . "\n\temail = a@b\n', ["user.name"]),
    ],
)
async def test_who_commits_has_to_be_known(
    git_repo: GitRepo, global_config: Path, config: str, named: list[str]
) -> None:
    global_config.write_text(config)
    repo = git_repo({})
    with pytest.raises(EnvironmentProblem) as problem:
        await write(repo)
    for key in ("user.name", "user.email"):
        assert (f"git config --global {key}" in problem.value.reason) is (key in named)
    assert not (repo / "a.txt").exists()
    assert (await write(repo, commit=False)).end.outcome == "done"


def test_a_git_of_the_repositorys_is_not_asked(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = git_repo({"bin/git": "#!/bin/sh\ntouch ran\nprintf evil\n"})
    (repo / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{repo / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert subprocess.run(["git"], cwd=repo, capture_output=True, check=True).stdout == b"evil", "bare"
    (repo / "ran").unlink()
    monkeypatch.chdir(repo)
    assert identity(repo) == Identity("Ada Lovelace", "ada@example.org")
    assert not (repo / "ran").exists()


def test_a_configuration_that_cannot_be_read(git_repo: GitRepo, global_config: Path) -> None:
    repo = git_repo({})
    global_config.write_text("[user\n")
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        identity(repo)


@pytest.mark.parametrize(
    "task", ["x" * 500, "word " * 50, "\x1b[31mred\u202e\n\n", "\ud800", "\n\n  two  \nlines", " "]
)
def test_messages_have_one_short_plain_line(task: str) -> None:
    text = message(RunOptions(kind="run", task=task), None)
    subject, empty, rest = text.split("\n", 2)
    assert 0 < len(subject) <= SUBJECT and empty == "" and rest.startswith("Generated-by: Ostro ")
    assert subject.isprintable() and text.encode()


def test_messages_hold_no_secret() -> None:
    task = "Use ghp_0123456789abcdefghijklmnopqrstuvwxyz here"
    assert "ghp_" not in message(RunOptions(kind="run", task=task), ["curl", "-H", task])
