"""Redo: it stops before the user's own edits, and what it goes over all the same comes back."""

from __future__ import annotations

import pytest

from agent.ending import Unsolved, WrongUsage
from agent.journal import find
from tests.agent.running import run
from tests.agent.undoing import back, forth, worked
from tests.chaos import picture
from tests.conftest import GitRepo
from tests.scripted_engine import call, say


async def test_a_redo_stops_before_them_too(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    await back(ran.session)
    (repo / "new.txt").write_text("mine\n")
    with pytest.raises(Unsolved, match=r"new\.txt"):
        await forth(ran.session)
    assert (repo / "new.txt").read_text() == "mine\n"


async def test_new_work_ends_what_could_be_redone(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    await back(ran.session, 1)
    await run(repo, [call("write", path="c.txt", content="c\n"), say("Done.")], resume=ran.session)
    with pytest.raises(WrongUsage, match="nothing to redo"):
        await forth(ran.session)
    assert (await back(ran.session)).move.to.step == 1, "what was undone is no step on the way"


async def test_what_a_redo_goes_over_comes_back(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, seen = await worked(repo)
    await back(ran.session)
    await back(ran.session)
    (repo / "a.txt").write_text("mine\n")
    edited = picture(repo)
    await forth(ran.session, force=True)
    await forth(ran.session)
    assert picture(repo) == seen[3]

    for _ in range(2):  # and once more after a redo of the way back
        await back(ran.session)
        assert picture(repo) == seen[2]
        await back(ran.session)
        assert picture(repo) == edited, "with the user's edit"
        await forth(ran.session)
        await forth(ran.session)
        assert picture(repo) == seen[3]
    await back(ran.session, 0)
    await back(ran.session)
    assert picture(repo) == edited, "where no checkpoint is left to go back to"
    await back(ran.session)
    assert picture(repo) == seen[0]


async def test_a_redo_that_was_killed_goes_back_to_the_users_edits(git_repo: GitRepo):
    repo = git_repo({"README": "hello\n"})
    ran, _ = await worked(repo)
    await back(ran.session)
    (repo / "a.txt").write_text("mine\n")
    edited = picture(repo)
    await forth(ran.session, force=True)
    path = find(ran.session)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

    await back(ran.session)

    assert picture(repo) == edited
