"""A run that ended before its work was done says what it left in the files, and the ways from there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent import events
from agent.commands import Command, Interrupt, Redo, SendMessage, Stop, Undo
from tests.agent.running import PYTHON, run
from tests.agent.test_session import SlowEngine, drive, end_of, session_of
from tests.conftest import GitRepo
from tests.scripted_engine import ScriptedEngine, call, say

CHECK = {"check.py": "raise SystemExit(open('a.txt').read() != 'right\\n')\n", "a.txt": "wrong\n"}
WRITE = call("write", path="a.txt", content="half\n")


def ways(session: str, kind: str = " run") -> str:
    resume = f"`ostro{kind} --resume {session}` goes on."
    return f"Changed, not verified: a.txt; `ostro undo {session} --to 0` takes that back, {resume}"


async def test_a_limit_of_steps_names_the_ways(git_repo: GitRepo):
    ran = await run(git_repo(CHECK), [WRITE], max_steps=1, verify=[PYTHON, "check.py"])

    assert (ran.end.outcome, ran.end.exit_code) == ("limit", 1)
    assert ran.end.reason == f"The limit of 1 step was reached; --max-steps sets it. {ways(ran.session)}"


async def test_where_nothing_was_changed_there_is_nothing_to_take_back(git_repo: GitRepo):
    ran = await run(git_repo({"a.txt": ""}), [call("read", path="a.txt")], max_steps=1)

    assert "undo" not in ran.end.reason
    assert ran.end.reason.endswith(f" Ostro changed no file; `ostro run --resume {ran.session}` goes on.")


async def test_what_the_failing_command_writes_is_not_laid_at_a_door(git_repo: GitRepo):
    """It ended before any work: neither is there anything of Ostro's to take back, nor to go on with."""
    command = ["sh", "-c", "touch log; exit 127"]
    ran = await run(git_repo({}), kind="fix", task=None, command=command)

    assert (ran.end.exit_code, ran.end.changed_files) == (3, ["log"])
    assert "undo" not in ran.end.reason and "--resume" not in ran.end.reason


async def test_giving_up_names_the_ways_as_well(git_repo: GitRepo):
    answers = [WRITE, *[say("Done.") for _ in range(8)]]
    ran = await run(git_repo(CHECK), answers, verify=[PYTHON, "check.py"])

    assert ran.end.outcome == "unsolved" and ran.end.reason.endswith(ways(ran.session))


async def test_done_says_nothing_of_it(git_repo: GitRepo):
    ran = await run(git_repo({}), [WRITE, say("Done.")])
    assert (ran.end.outcome, ran.end.reason) == ("done", "")


@pytest.mark.parametrize(
    ("command", "code", "what"),
    [(Interrupt(), 130, "Interrupted."), (Stop(terminated=True), 143, "Terminated by a signal.")],
    ids=["interrupt", "terminate"],
)
async def test_an_interruption_says_what_happened_and_the_ways(
    git_repo: GitRepo, command: Command, code: int, what: str
):
    async with session_of(git_repo(CHECK), SlowEngine([WRITE])) as session:
        seen = await drive(
            session, lambda event: command if isinstance(event, events.Step) and event.step == 2 else None
        )

    end = end_of(seen)
    assert (end.exit_code, end.reason) == (code, f"{what} {ways(session.id)}")


@pytest.fixture
def committing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return {"kind": "session", "task": None, "commit": True}


def commits(repo: Path) -> int:
    said = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=repo, capture_output=True, text=True, check=True
    )
    return int(said.stdout)


async def test_nothing_of_a_turn_that_was_left_is_committed(git_repo: GitRepo, committing: dict[str, Any]):
    repo = git_repo(CHECK)

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.Step(step=2):
                return Stop()
        return None

    async with session_of(repo, SlowEngine([WRITE]), **committing) as session:
        end = end_of(await drive(session, react))

    assert (end.outcome, end.exit_code, end.commit, commits(repo)) == ("interrupted", 130, None, 1)
    assert end.reason == f"Left while a turn was running. {ways(session.id, kind='')}"


async def test_nothing_of_a_turn_that_was_interrupted_is_committed_later(
    git_repo: GitRepo, committing: dict[str, Any]
):
    repo = git_repo(CHECK)

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.Step(step=2):
                return Interrupt()
            case events.Warn(text="Interrupted."):
                return Stop()
        return None

    async with session_of(repo, SlowEngine([WRITE]), **committing) as session:
        end = end_of(await drive(session, react))

    assert (end.outcome, end.commit, commits(repo)) == ("done", None, 1)
    assert end.reason == (
        f"Not committed, because the last turn is unfinished: Interrupted. {ways(session.id, kind='')}"
    )


async def test_what_passed_before_an_interrupted_turn_does_not_verify_it(
    git_repo: GitRepo, committing: dict[str, Any]
):
    """The first turn passes; the second breaks it again and is interrupted."""
    repo = git_repo(CHECK)
    right = call("write", path="a.txt", content="right\n")

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.Verify(passed=True):
                return SendMessage(text="and now")
            case events.Step(step=4):
                return Interrupt()
            case events.Warn(text="Interrupted."):
                return Stop()
        return None

    engine = SlowEngine([right, say("Done."), WRITE])
    async with session_of(repo, engine, verify=[PYTHON, "check.py"], **committing) as session:
        end = end_of(await drive(session, react))

    assert (end.verified, end.commit, commits(repo)) == (None, None, 1)


async def test_a_later_turn_that_ends_well_is_committed(git_repo: GitRepo, committing: dict[str, Any]):
    repo = git_repo(CHECK)
    engine = ScriptedEngine([WRITE, say("Done.")])

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.UsageEvent() if len(engine.requests) == 2:
                return Stop()
        return None

    async with session_of(repo, engine, **committing) as session:
        end = end_of(await drive(session, react))

    assert (end.outcome, commits(repo)) == ("done", 2) and end.commit


TWO_TURNS = [call("write", path="a.txt", content="right\n"), say("Done."), WRITE]
"""The second one is interrupted after its first step."""


async def left(repo: Path, given: dict[str, Any], *moves: Command) -> tuple[str, events.End]:
    """A session whose second turn is interrupted, and that is left after these moves."""
    engine, to_do = SlowEngine(TWO_TURNS), [*moves, Stop()]

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="go")
            case events.UsageEvent() if len(engine.requests) == 2:
                return SendMessage(text="and now")
            case events.Step(step=4):
                return Interrupt()
            case events.Warn(text="Interrupted.") | events.UndoEvent():
                return to_do.pop(0)
        return None

    async with session_of(repo, engine, **given) as session:
        return session.id, end_of(await drive(session, react))


async def test_a_turn_that_cannot_begin_does_not_begin_again_by_itself(git_repo: GitRepo):
    """And its message is answered with the next one."""
    engine, failed = ScriptedEngine([say("Here.")]), list[str]()

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Checkpoint(label="start"):
                return SendMessage(text="What is it?")
            case events.Warn(text=text) if "There is no program" in text:
                failed.append(text)
                session.options = session.options.model_copy(update={"verify": None})
                return NOTHING
            case events.Warn(text=text) if "no step 99" in text:
                return SendMessage(text="Are you there?")
            case events.UsageEvent():
                return Stop()
        return None

    given = {"kind": "session", "task": None, "verify": ["no-such-program"]}
    async with session_of(git_repo({}), engine, **given) as session:
        end = end_of(await drive(session, react))

    asked = [message.content for message in engine.requests[0].messages if message.role == "user"]
    assert (len(failed), asked) == (1, ["What is it?", "Are you there?"])
    assert end.outcome == "done"


NOTHING = Undo(step=99)
"""Gets a warning and changes nothing."""


async def gone_on_with(
    repo: Path, session: str, given: dict[str, Any], move: Command = NOTHING
) -> events.End:
    """Resumed, and left without a word to the model."""

    def react(event: events.AnyEvent) -> Command | None:
        match event:
            case events.Start():
                return move
            case events.UndoEvent():
                return Stop()
            case events.Warn(text=text) if "no step 99" in text:
                return Stop()
        return None

    async with session_of(repo, SlowEngine([]), resume=session, **given) as again:
        return end_of(await drive(again, react))


async def test_a_resume_does_not_finish_an_interrupted_turn(git_repo: GitRepo, committing: dict[str, Any]):
    repo = git_repo(CHECK)
    session, _ = await left(repo, committing)
    for _ in range(2):
        end = await gone_on_with(repo, session, committing)
        assert (end.outcome, end.commit, commits(repo)) == ("done", None, 1)
        assert end.reason.startswith("Not committed, because the last turn is unfinished: Interrupted.")


async def test_nor_one_that_was_cut_off(git_repo: GitRepo, committing: dict[str, Any]):
    """Of `ostro run`, and gone on with on the screen."""
    repo = git_repo(CHECK)
    ran = await run(repo, [WRITE], max_steps=1, commit=True)
    end = await gone_on_with(repo, ran.session, committing)
    assert (end.outcome, end.commit, commits(repo)) == ("done", None, 1)
    assert end.reason.startswith("Not committed, because the last turn is unfinished: It was cut off.")


@pytest.mark.parametrize("resumed", [False, True], ids=["at once", "after a resume"])
async def test_without_the_interrupted_turn_the_ones_before_are_committed(
    git_repo: GitRepo, committing: dict[str, Any], resumed: bool
):
    repo = git_repo(CHECK)
    if resumed:
        session, _ = await left(repo, committing)
        end = await gone_on_with(repo, session, committing, Undo())
    else:
        _, end = await left(repo, committing, Undo())
    assert (end.outcome, commits(repo)) == ("done", 2) and end.commit
    assert (repo / "a.txt").read_text() == "right\n"


@pytest.mark.parametrize("moves", [[Undo(), Redo()], [Undo(step=0), Undo(step=2)]], ids=["redo", "step"])
async def test_a_way_back_into_it_is_known(
    git_repo: GitRepo, committing: dict[str, Any], moves: list[Command]
):
    repo = git_repo(CHECK)
    _, end = await left(repo, committing, *moves)
    assert (repo / "a.txt").read_text() == "half\n"
    assert (end.outcome, end.commit, commits(repo)) == ("done", None, 1)
    assert "the last turn is unfinished: Interrupted." in end.reason
