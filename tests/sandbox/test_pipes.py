"""A named pipe where git looks for a file holds up no snapshot, no undo, no listing and no commit.

Git waits for whoever may write into it, so that each of these without the answer waits for ever."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sandbox import Author, HistoryProblem, Sandbox, SandboxError
from sandbox.recorder.program import Recorder
from sandbox.recorder.restore import Restore
from sandbox.recorder.walk import Walk

from .breaking_out import root_only
from .conftest import Opener, git, shell
from .mutants import Weaker
from .recording import asked, swapping

AUTHOR = Author("Ada Lovelace", "ada@example.org", "@1700000000 +0100")


@pytest.mark.parametrize("mode", ["644", "444"])
@pytest.mark.parametrize("name", [".gitattributes", "src/.gitattributes", "src/.gitignore", ".mailmap"])
async def test_a_commit_waits_for_no_pipe(repo: Path, box: Sandbox, name: str, mode: str) -> None:
    await shell(box, f"mkfifo -m {mode} {name}; echo more >> src/calc.py")
    async with asyncio.timeout(30):
        made = await box.history.commit(["src/calc.py"], "Change\n", AUTHOR, await box.history.head())
    (repo / name).unlink()  # this git would wait
    assert git(repo, "show", "--name-only", "--format=", made) == "src/calc.py\n"


@pytest.mark.timeout(30)
def test_a_pipe_made_while_a_tree_is_recorded(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "folder").mkdir()
    (repo / "folder" / "file").write_text("")
    swapping(lambda: os.mkfifo(repo / "folder" / ".gitignore", 0o444), Walk, "_ignored", monkeypatch)
    found = recorder._snapshot(asked(recorder, "record")["id"])
    assert found.find("folder/file") and not found.find("folder/.gitignore")


@pytest.mark.timeout(30)
def test_a_pipe_made_while_files_are_restored(
    repo: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asked(recorder, "record")["id"]
    (repo / ".gitignore").write_text("")
    (repo / "src" / "new").write_text("")
    swapping(lambda: os.mkfifo(repo / "src" / ".gitignore"), Restore, "_remove", monkeypatch)
    assert asked(recorder, "restore", id=before, paths=None)["changed"] == [".gitignore", "src/new"]
    assert not (repo / "src" / "new").exists()


async def test_a_pipe_in_the_place_of_what_comes_back_is_named(repo: Path, box: Sandbox) -> None:
    before = await box.workspace.snapshot()
    await shell(box, "rm src/calc.py; mkfifo src/calc.py")
    with pytest.raises(SandboxError, match=r"^src/calc\.py is a pipe; remove it\.$"):
        await box.workspace.restore(before)


@root_only
async def test_a_pipe_that_somebody_else_writes_is_named(repo: Path, box: Sandbox) -> None:
    os.mkfifo(repo / "src" / ".gitignore")
    os.chown(repo / "src" / ".gitignore", 1, 1)
    (repo / "src" / "new").write_text("")
    async with asyncio.timeout(30):
        with pytest.raises(SandboxError, match=r"^src/\.gitignore is a pipe; remove it\.$"):
            await box.workspace.snapshot()


@root_only
async def test_git_is_ended_where_it_may_wait_for_somebody_else(
    repo: Path, open_sandbox: Opener, weaker: Weaker
) -> None:
    weaker.without("awaited_pipes.py", "_LONG = 20.0", "_LONG = 1.0")
    box = await open_sandbox()
    place = repo / "src" / ".gitignore"
    os.mkfifo(place)
    os.chown(place, 1, 1)
    (repo / "src" / "new").write_text("")
    async with asyncio.timeout(30):
        with pytest.raises(SandboxError, match=f"{place} is a pipe; remove it"):
            await box.workspace.listing(recursive=True)
        with pytest.raises(HistoryProblem, match=f"^{place} is a pipe; remove it"):
            await box.history.uncommitted()
