"""Undo and redo: exact trees, from the journal alone, stopping before the user's own edits."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.commands import Redo, SendMessage, Stop, Undo
from agent.ending import EnvironmentProblem, Unsolved, WrongUsage
from agent.events import AnyEvent, Checkpoint, UndoEvent, Warn
from agent.journal import Journal, find, repository_lock
from agent.opening import open_session
from agent.options import RunOptions
from agent.timeline import Timeline
from agent.undo import opened, undo
from sandbox import SandboxError, Workspace
from tests.agent.running import run
from tests.agent.undoing import STEPS, back, forth, worked
from tests.chaos import picture, repository_state
from tests.conftest import GitRepo
from tests.scripted_engine import ScriptedEngine, call, say
from tui.command_line import main


async def test_step_by_step_back_and_forth(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, seen = await worked(repo)
    own = repository_state(repo)
    assert [(point.step, point.label) for point in ran.of(Checkpoint)] == [
        (0, "start"), (1, "after write"), (2, "after shell"), (3, "after write"),
    ]  # fmt: skip

    assert (await back(ran.session)).files == ["a.txt"]
    assert picture(repo) == seen[2]
    assert (await back(ran.session)).files == ["README", "b.txt", "empty"]
    assert picture(repo) == seen[1]
    await back(ran.session)
    assert picture(repo) == seen[0]
    with pytest.raises(WrongUsage, match="Nothing is left to undo"):
        await back(ran.session)
    for step in (1, 2, 3):
        await forth(ran.session)
        assert picture(repo) == seen[step]
    with pytest.raises(WrongUsage, match="nothing to redo"):
        await forth(ran.session)
    for step in (1, 3, 0, 2):
        await back(ran.session, step)
        assert picture(repo) == seen[step]
    assert repository_state(repo) == own


async def test_a_step_that_is_not_there(git_repo: GitRepo):
    ran, _ = await worked(git_repo({"README": "hello\n"}))
    with pytest.raises(WrongUsage, match="no step 9; the checkpoints of this session are 0 to 3"):
        await back(ran.session, 9)


async def test_stops_before_the_users_own_edits(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, seen = await worked(repo)
    (repo / "a.txt").write_text("mine\n")
    (repo / "b.txt").chmod(0o644)
    before = picture(repo)

    with pytest.raises(Unsolved, match=r"a\.txt, b\.txt.*--force"):
        await back(ran.session)
    assert picture(repo) == before, "nothing was touched"

    await back(ran.session, force=True)
    assert picture(repo) == seen[2]
    await forth(ran.session)
    assert picture(repo) == before, "with the user's edits"


@pytest.mark.parametrize("force", [False, True])
async def test_an_edit_saved_while_it_runs_is_kept(
    git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch, force: bool
):
    repo = git_repo({"README": "hello\n"})
    ran, seen = await worked(repo)
    restore = Workspace.restore

    async def late(self: Workspace, *args: Any, **more: Any) -> str:
        (repo / "a.txt").write_text("saved meanwhile\n")
        (repo / "beside.txt").write_text("not in the way\n")
        return await restore(self, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "restore", late)
        with pytest.raises(Unsolved, match=r"at this moment: a\.txt"):
            await back(ran.session, force=force)
    assert (repo / "a.txt").read_text() == "saved meanwhile\n"
    before = picture(repo)

    with pytest.raises(Unsolved, match=r"a\.txt"):
        await back(ran.session)
    await back(ran.session, force=True)
    assert picture(repo) == seen[2]
    await forth(ran.session)
    assert picture(repo) == before


async def test_a_resumed_session_tells_the_model(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    await back(ran.session, 1)

    again = await run(repo, [say("I see.")], resume=ran.session)

    told = again.engine.requests[0].messages[-1]
    assert told.role == "user" and "step 1 (after write)" in told.content
    assert "Changed since the last call" not in told.content, "that is no edit of the user's"
    assert Timeline.read(again.records).untold == [], "it is told once"


async def test_killed_in_the_middle(git_repo: GitRepo):
    """The journal tells of a way that was begun: half of the files are there, half are not."""
    repo = git_repo({"README": "hello\n"})
    ran, seen = await worked(repo)
    path = find(ran.session)
    await back(ran.session, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    assert b'"restored"' in lines[-1]

    path.write_bytes(b"".join(lines[:-1]))
    (repo / "b.txt").write_text("two\n")
    (repo / "b.txt").chmod(0o600)
    (repo / ".ostro-restore-0123456789ab").write_text("half of some fi")

    moved = await back(ran.session)

    assert moved.move.to.step == 0, "it goes on where it was going"
    assert picture(repo) == seen[0]
    await forth(ran.session)
    assert picture(repo) == seen[3]
    with pytest.raises(WrongUsage):
        await forth(ran.session)


async def test_killed_in_the_middle_and_taken_back(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, seen = await worked(repo)
    path = find(ran.session)
    await back(ran.session, 1)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (repo / "a.txt").write_text("three\n")

    await forth(ran.session)

    assert picture(repo) == seen[3]
    await back(ran.session)
    assert picture(repo) == seen[2]


async def test_killed_in_the_middle_and_the_session_goes_on(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    (repo / "a.txt").write_text("mine\n")
    before = picture(repo)
    path = find(ran.session)
    await back(ran.session, 0, force=True)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (repo / "b.txt").write_text("half\n")

    again = await run(repo, [say("I see.")], resume=ran.session)
    assert [(point.step, point.label) for point in again.of(Checkpoint)] == [
        (4, "before an unfinished undo"), (5, "resumed"),
    ]  # fmt: skip

    assert (await back(ran.session)).move.to.step == 4
    assert picture(repo) == before, "with the user's edit"


async def test_an_undo_that_fails_in_a_session_loses_nothing(
    git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    (repo / "a.txt").write_text("mine\n")
    before = picture(repo)

    async def fails(*_given: object, **_named: object) -> str:
        (repo / "a.txt").unlink()
        raise SandboxError("No restoring today.")

    async with opened(ran.session) as (workspace, journal, timeline):
        with monkeypatch.context() as patched, pytest.raises(EnvironmentProblem, match="today"):
            patched.setattr(workspace, "restore", fails)
            await undo(workspace, journal, timeline, force=True)
        tree = await workspace.snapshot()
        assert timeline.add(tree, "after write").before == 4
        journal.append("tree", tree=tree, label="after write", sync=True)
        assert timeline == Timeline.read(journal.records())
    await back(ran.session)
    assert picture(repo) == before


async def test_in_a_session(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    engine = ScriptedEngine([STEPS[0], say("Written."), say("I know.")])
    seen: list[AnyEvent] = []

    async def open_engine() -> ScriptedEngine:
        return engine

    options = RunOptions(kind="session", repo=repo, model="scripted")
    async with open_session(options, open_engine) as session:

        async def follow() -> None:
            async for event in session.run():
                seen.append(event)

        following = asyncio.create_task(follow())
        session.send(SendMessage(text="Write it."))
        await until(lambda: len(engine.requests) == 2 and not session.working)
        session.send(Undo())
        await until(lambda: not session.working)
        assert not (repo / "a.txt").exists()
        session.send(Redo())
        await until(lambda: not session.working)
        assert (repo / "a.txt").read_text() == "one\n"
        session.send(Undo(step=0))
        session.send(Undo())
        await until(lambda: not session.working)
        session.send(SendMessage(text="Look again."))
        await until(lambda: len(engine.requests) == 3 and not session.working)
        session.send(Stop())
        await following

    moves = [(event.kind, event.step, event.files) for event in seen if isinstance(event, UndoEvent)]
    assert moves == [("undo", 0, ["a.txt"]), ("redo", 1, ["a.txt"]), ("undo", 0, ["a.txt"])]
    assert any(isinstance(event, Warn) and "Nothing is left" in event.text for event in seen)
    told = [message.content for message in engine.requests[2].messages if message.role == "user"]
    assert any("step 0 (start)" in text and "a.txt" in text for text in told)
    assert session.timeline == Timeline.read(session.journal.records())


async def until(holds) -> None:
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


async def test_one_ostro_at_a_time(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    with repository_lock(repo, "other"), pytest.raises(EnvironmentProblem, match="already works"):
        await back(ran.session)


async def test_a_snapshot_that_is_not_kept(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    path = find(ran.session)
    path.write_bytes(path.read_bytes().replace(ran.of(Checkpoint)[2].tree.encode(), b"0" * 40))
    with pytest.raises(EnvironmentProblem, match="not kept any more"):
        await back(ran.session)


async def test_an_ignored_file_that_a_step_destroys_is_a_warning(git_repo: GitRepo):
    repo = git_repo({".gitignore": ".env\n"})
    (repo / ".env").write_text("KEY=1\n")
    ran = await run(repo, [call("shell", command="rm .env"), say("Done.")])
    assert [event.text for event in ran.of(Warn)] == [
        "Deleted, and not recorded because git ignores it: .env."
    ]


def test_without_any_checkpoint():
    with pytest.raises(WrongUsage, match="no checkpoint"):
        Timeline().undo_target(None)
    with pytest.raises(WrongUsage, match="nothing to redo"):
        Timeline().redo_target()


# The command line.


async def test_the_latest_session_of_this_repository(
    git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    repo, other = git_repo({"README": "hello\n"}), git_repo({}, name="other")
    ran, seen = await worked(repo)
    await worked(other, [call("write", path="x", content="x"), say("Done.")])
    monkeypatch.chdir(repo)

    assert await asyncio.to_thread(main, ["undo", "--to", "1"]) == 0
    said = capsys.readouterr().out
    assert "as at step 1 (after write): README, a.txt, b.txt, empty." in said and "ostro redo" in said
    assert picture(repo) == seen[1]
    assert await asyncio.to_thread(main, ["redo", ran.session]) == 0
    assert picture(repo) == seen[3]
    assert (other / "x").exists()
    assert await asyncio.to_thread(main, ["sessions", "show", ran.session]) == 0
    assert "checkpoint 2: after shell" in capsys.readouterr().out


async def test_names_that_are_no_text_are_printed(
    git_repo: GitRepo, capfdbinary: pytest.CaptureFixture[bytes]
):
    repo = git_repo({})
    ran = await run(repo, [call("shell", command="touch $'a\\x9bb'"), say("Done.")])
    assert await asyncio.to_thread(main, ["undo", ran.session]) == 0
    assert "a\ufffdb" in capfdbinary.readouterr().out.decode("utf-8")


async def test_exit_codes(
    git_repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    repo = git_repo({"README": "hello\n"})
    monkeypatch.chdir(repo)
    assert await asyncio.to_thread(main, ["undo"]) == 2, "no session of this repository"
    ran, _ = await worked(repo)
    assert await asyncio.to_thread(main, ["undo", "--to", "x"]) == 2
    assert await asyncio.to_thread(main, ["undo", "--to", "7"]) == 2
    assert await asyncio.to_thread(main, ["undo", "20000101-000000-abcdef"]) == 2
    (repo / "a.txt").write_text("mine\n")
    assert await asyncio.to_thread(main, ["undo"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("ostro: Changed since the last checkpoint: a.txt.")
    monkeypatch.chdir(tmp_path)
    assert await asyncio.to_thread(main, ["undo"]) == 3, "not a git repository"
    began = Journal.create("20990101-000000-abcdef")
    began.close()
    monkeypatch.chdir(repo)
    assert await asyncio.to_thread(main, ["undo", "--force"]) == 0, "one that never began is passed over"
    shutil.rmtree(began.path.parent)
    assert (await run(repo, model="none-such", time_limit=0.001)).of(Checkpoint) == []
    assert await asyncio.to_thread(main, ["redo"]) == 0, "nor one without a checkpoint"
    assert os.path.exists(find(ran.session))
