"""What a run leaves behind is told before its end: repositories, refs, operations, certain files."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from agent.ending import EnvironmentProblem
from agent.events import End, Warn
from agent.journal import Journal
from agent.left_behind import acted_on
from agent.listing import listed
from sandbox import History, HistoryProblem, Sandbox, SandboxError, Workspace
from sandbox.scratch import Scratch
from tests.agent.running import Ran, run
from tests.agent.test_resume import cut_after
from tests.conftest import GitRepo
from tests.scripted_engine import call, say


def warned(ran: Ran) -> str:
    return "\n".join(event.text for event in ran.of(Warn))


async def shell(repo: Path, command: str, **options) -> Ran:
    return await run(repo, [call("shell", command=command), say("Done.")], **options)


async def test_new_repositories_are_named_and_the_rest_counted(git_repo: GitRepo):
    ran = await shell(git_repo({}), "for n in 1 2 3 4 5 6 7; do git init -q r$n; done")

    assert (
        "New or changed git repositories: r1/.git, r2/.git, r3/.git, r4/.git, r5/.git and 2 more."
        in warned(ran)
    )
    assert "`git status` already" in warned(ran)


@pytest.mark.parametrize("problem", [SandboxError("too many."), PermissionError(13, "Permission denied")])
async def test_what_cannot_be_looked_at_is_said(
    git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch, problem: Exception
):
    async def fails(_self: Sandbox) -> list[str]:
        raise problem

    monkeypatch.setattr(Sandbox, "new_repositories", fails)
    ran = await run(git_repo({}), [say("Done.")])

    assert ran.end.outcome == "done" and "git repositories cannot be told: " in warned(ran)


async def test_that_refs_cannot_be_told_is_said(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch):
    async def fails(_self: History) -> dict[str, str]:
        raise HistoryProblem("No git today.")

    monkeypatch.setattr(History, "refs", fails)
    ran = await run(git_repo({}), [say("Done.")])

    assert ran.end.outcome == "done" and "Which refs this run moves cannot be told: No git today." in warned(
        ran
    )


async def test_what_happened_before_a_kill_is_told_by_the_resumed_session(git_repo: GitRepo):
    repo = git_repo({})
    both = "git init -q inner; cp .git/refs/heads/main .git/refs/heads/sly"
    first = await shell(repo, both)
    assert "inner/.git" in warned(first) and "refs/heads/sly is new" in warned(first)
    cut_after(first, "message", 4)  # killed after the command

    again = await run(repo, [say("Done.")], resume=first.session)
    assert "inner/.git" in warned(again) and "refs/heads/sly is new" in warned(again)

    third = await run(repo, [say("Done.")], resume=first.session)
    assert "inner/.git" in warned(third), "it is still there"
    assert "Moved" not in warned(third), "that was told"


async def test_an_approved_commit_before_a_kill_is_not_told(
    git_repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "ostro").mkdir(parents=True)
    rule = '[[approvals.rule]]\ndecision = "allow"\ncommand = "git commit"\n'
    (tmp_path / "config" / "ostro" / "config.toml").write_text(rule)
    repo = git_repo({})
    first = await shell(repo, "git commit --quiet --allow-empty -m approved")
    assert (repo / ".git" / "COMMIT_EDITMSG").read_text() == "approved\n"
    cut_after(first, "message", 4)

    assert "Moved" not in warned(await run(repo, [say("Done.")], resume=first.session))


async def test_an_operation_that_was_left_half_way(git_repo: GitRepo):
    repo = git_repo({"a": "1\n"})
    ran = await shell(repo, "cp .git/refs/heads/main .git/MERGE_HEAD")
    assert "A merge is in progress that was not when the run began" in warned(ran)

    again = await run(repo, [say("Done.")])
    assert "in progress" not in warned(again), "it was there at the start"


async def test_files_that_others_act_on(git_repo: GitRepo):
    repo = git_repo({"AGENTS.md": "x\n", "src/a.py": "x = 1\n"})
    ran = await shell(
        repo, "echo y > AGENTS.md; echo y > src/a.py; mkdir -p src/.vscode; echo {} > src/.vscode/tasks.json"
    )
    assert "Changed: AGENTS.md, src/.vscode/tasks.json. Other programs act on such files" in warned(ran)
    assert "a.py" not in warned(ran)


@pytest.mark.parametrize(
    "path", ["CLAUDE.md", "d/.ENVRC", ".github/Workflows/ci.yml", "x/a.pth", ".mcp.json"]
)
def test_names_that_are_acted_on(path: str):
    assert acted_on(path)


@pytest.mark.parametrize(
    "path", ["README.md", ".github/dependabot.md", "workflows/a.yml", "vscode/a", "agents.py"]
)
def test_names_that_are_not(path: str):
    assert not acted_on(path)


async def test_without_a_patch_the_changed_files_are_told(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch):
    async def fails(_self: Workspace, _a: str, _b: str) -> str:
        raise SandboxError("No patch today.")

    monkeypatch.setattr(Workspace, "diff", fails)
    ran = await shell(git_repo({}), "echo x > AGENTS.md", max_steps=1)

    end: End = ran.end
    assert (end.outcome, end.changed_files, end.patch) == ("limit", ["AGENTS.md"], "")
    assert "The patch cannot be made, and is left out: No patch today." in warned(ran)


async def test_without_a_journal_the_patch_is_told(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch):
    repo = git_repo({})
    really = Journal.append

    def full(self: Journal, kind: str, **fields: Any) -> None:
        if (repo / "new").exists():
            raise EnvironmentProblem("The journal cannot be written.")
        really(self, kind, **fields)

    monkeypatch.setattr(Journal, "append", full)
    ran = await shell(repo, "echo x > new")
    assert (ran.end.exit_code, ran.end.changed_files) == (3, ["new"]) and "+x" in ran.end.patch


async def test_a_full_disk_under_a_fork_is_no_fault(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch):
    really = Scratch.folder

    def full(self: Scratch, prefix: str) -> Path:
        if prefix == "fork":
            raise OSError(errno.ENOSPC, "No space left on device", "/scratch/fork")
        return really(self, prefix)

    monkeypatch.setattr(Scratch, "folder", full)
    ran = await run(git_repo({}), [call("test", command="true"), say("Done.")], approve="read-only")
    assert ran.end.exit_code == 3
    assert ran.end.reason.startswith("/scratch/fork cannot be written (No space left on device)")


def test_what_is_not_named_is_counted():
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"], most=2, between="; ") == "a; b and 1 more"
