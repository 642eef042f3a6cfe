from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from agent.commands import Redo, Undo
from agent.ending import WrongUsage
from agent.options import RunOptions
from tests.agent.test_session import SlowEngine
from tests.conftest import GitRepo
from tests.scripted_engine import ScriptedEngine, call, say
from tui import screen
from tui.screen import ApprovalQuestion, SessionScreen
from tui.slash_commands import command_of


def screen_of(repo: Path, engine: ScriptedEngine) -> SessionScreen:
    async def open_engine() -> ScriptedEngine:
        return engine

    return SessionScreen(RunOptions(kind="session", repo=repo, model="scripted", approve="ask"), open_engine)


async def until(pilot: Pilot[int], holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await pilot.pause(0.05)
    raise AssertionError(shown(pilot))


def shown(pilot: Pilot[int]) -> str:
    return "\n".join(str(block.content) for block in pilot.app.query(Static))


async def tell(pilot: Pilot[int], text: str) -> None:
    pilot.app.query_one("#prompt", Input).value = text
    await pilot.press("enter")


async def test_a_turn_streams_and_the_user_leaves(git_repo: GitRepo):
    app = screen_of(
        git_repo({"a.py": "x = 1\n"}), ScriptedEngine([call("read", path="a.py"), say("It is one.")])
    )
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot) and "sandbox: tier " in shown(pilot))
        assert "sandbox: tier " in shown(pilot) and ("ostro doctor" in shown(pilot)) is not (
            "not enforced: " in shown(pilot)
        )
        await tell(pilot, "What is x?")
        await until(pilot, lambda: "It is one." in shown(pilot) and "ready ·" in shown(pilot))
        assert "What is x?" in shown(pilot) and '→ read path="a.py"' in shown(pilot)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app.return_code is not None)

    assert app.return_value == 0 and "done" in app.last_words


async def test_markup_and_escapes_are_plain_text(git_repo: GitRepo):
    app = screen_of(git_repo({}), ScriptedEngine([say("[bold]no[/bold] \x1b[31mred [/")]))
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        await tell(pilot, "[red]go")
        await until(pilot, lambda: "[bold]no[/bold] red [/" in shown(pilot))
        await pilot.press("ctrl+q")


async def test_escape_interrupts_and_the_session_goes_on(git_repo: GitRepo):
    engine = SlowEngine([])
    app = screen_of(git_repo({}), engine)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        await tell(pilot, "think for long")
        await until(pilot, lambda: len(engine.requests) == 1)
        await pilot.press("escape")
        await until(pilot, lambda: "Interrupted." in shown(pilot) and "ready ·" in shown(pilot))
        await pilot.press("ctrl+q")

    assert engine.cancelled == 1


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+q"])
async def test_leaving_in_a_turn_is_an_interruption_that_says_what_is_left(git_repo: GitRepo, key: str):
    repo = git_repo({"a.py": "x = 1\n"})
    engine = SlowEngine([call("write", path="a.py", content="x = 2\n")])
    app = screen_of(repo, engine)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        await tell(pilot, "change it, and more")
        await until(pilot, lambda: len(engine.requests) == 2)
        await pilot.press(key)
        await until(pilot, lambda: app.return_code is not None)

    session = app.last_words.split()[1].rstrip(":")
    assert app.return_value == 130 and app.last_words.count("\n") == 0
    assert app.last_words == (
        f"Session {session}: interrupted. Left while a turn was running. Changed, not verified: a.py; "
        f"`ostro undo {session} --to 0` takes that back, `ostro --resume {session}` goes on."
    )


async def test_leaving_twice_does_not_wait_and_is_not_done(
    git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
):
    app = screen_of(git_repo({}), SlowEngine([]))
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        monkeypatch.setattr("agent.session.Session.send", lambda session, command: None)  # it does not end
        await pilot.press("ctrl+c")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.return_code is not None)

    assert app.return_value == 130 and "--resume" in app.last_words and "ostro undo" in app.last_words


async def test_undo_and_redo_are_typed(git_repo: GitRepo):
    repo = git_repo({"a.py": "x = 1\n"})
    engine = ScriptedEngine([call("write", path="a.py", content="x = 2\n"), say("Two.")])
    app = screen_of(repo, engine)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        await tell(pilot, "change it")
        await until(pilot, lambda: "Two." in shown(pilot) and "ready ·" in shown(pilot))
        await tell(pilot, "/undo")
        await until(pilot, lambda: "Undone: the files are as at step 0" in shown(pilot))
        assert (repo / "a.py").read_text() == "x = 1\n"
        await tell(pilot, "/redo")
        await until(pilot, lambda: "Redone: the files are as at step 1" in shown(pilot))
        assert (repo / "a.py").read_text() == "x = 2\n"
        await tell(pilot, "/undo --to 9")
        await until(pilot, lambda: "There is no step 9" in shown(pilot))
        await tell(pilot, "/rewind")
        await until(pilot, lambda: "'/rewind' is no command of the screen" in shown(pilot))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app.return_code is not None)

    assert len(engine.requests) == 2 and app.return_value == 0, "none of it went to the model"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/undo", Undo()),
        ("/undo --to 3", Undo(step=3)),
        ("/undo --force --to 0 ", Undo(step=0, force=True)),
        ("/redo --force", Redo(force=True)),
        ("undo it", None),
        (" /undo", None),
        ("/usr/lib is full", None),
    ],
)
def test_slash_commands(text: str, command: object):
    assert command_of(text) == command


@pytest.mark.parametrize("text", ["/", "/undo 3", "/undo --to x", "/redo --to 1", "/help", "/undone"])
def test_slash_commands_that_there_are_not(text: str):
    with pytest.raises(WrongUsage, match=r"`/undo .*`/redo .*a space stands before it"):
        command_of(text)


def test_a_step_without_end():
    """Longer than Python reads a number."""
    with pytest.raises(WrongUsage, match=r"^'/undo --to 9+…' is no command") as refused:
        command_of(f"/undo --to {'9' * 5000}")
    assert len(refused.value.reason) < 250


@pytest.mark.parametrize(("key", "written"), [("y", True), ("n", False)])
async def test_a_question_is_answered_by_a_key_that_was_meant(
    git_repo: GitRepo, key: str, written: bool, monkeypatch: pytest.MonkeyPatch
):
    repo = git_repo({})
    asks = "touch new.txt; git commit --help\u202e >/dev/null\n" + "\n" * 40 + "echo the end"
    app = screen_of(repo, ScriptedEngine([call("shell", command=asks), say("So.")]))
    monkeypatch.setattr(screen, "GRACE", 3600.0)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        await tell(pilot, "write it")
        await until(pilot, lambda: app.query_one(ApprovalQuestion).has_class("asking"))
        wanted = str(app.query_one("#wanted", Static).content)
        assert wanted == f"shell {asks}".replace("\u202e", "\\u202e"), "all of it, also what is not seen"
        question = app.query_one(ApprovalQuestion)
        await until(pilot, lambda: question.max_scroll_y > 0)
        assert "42 lines" in str(question.border_title)
        await pilot.press(key)
        assert app.query_one(ApprovalQuestion).has_class("asking"), "it came too soon"
        monkeypatch.setattr(screen, "GRACE", 0.0)
        await pilot.press(key)
        await until(pilot, lambda: "So." in shown(pilot))
        await pilot.press("ctrl+q")

    assert (repo / "new.txt").exists() is written


async def test_a_long_line_is_said_to_be_many(git_repo: GitRepo):
    """What is to be seen only further down must not be overlooked."""
    hidden = call("shell", command=f"git commit -m '{'x ' * 3000}'; touch new.txt")
    app = screen_of(git_repo({}), ScriptedEngine([hidden, say("So.")]))
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        await tell(pilot, "write it")
        question = app.query_one(ApprovalQuestion)
        await until(pilot, lambda: "lines, ↑ ↓" in str(question.border_title))
        assert question.max_scroll_y > 50
        await pilot.press("ctrl+q")


async def test_no_repository_is_said_after_the_screen_is_gone(tmp_path: Path):
    app = screen_of(tmp_path, ScriptedEngine())
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.return_code is not None)

    assert app.return_value == 3 and "git repository" in app.last_words


async def test_terminated(git_repo: GitRepo):
    app = screen_of(git_repo({}), ScriptedEngine())
    async with app.run_test() as pilot:
        await until(pilot, lambda: "ready" in shown(pilot))
        os.kill(os.getpid(), 15)
        await until(pilot, lambda: app.return_code is not None)
        await asyncio.sleep(0)

    assert app.return_value == 143


async def test_a_fault_of_our_own_is_said_after_the_screen_is_gone(
    git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(screen, "open_session", lambda options, engine: 1 / 0)
    app = screen_of(git_repo({}), ScriptedEngine())
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.return_code is not None)

    place = app.last_words.split("; ")[1].split(" holds")[0]
    assert app.return_value == 70 and app.last_words.count("\n") == 0
    assert "ZeroDivisionError" in Path(place).read_text()


def test_last_words_hold_no_escapes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def run(app: SessionScreen) -> int:
        app.last_words = "Session: unsolved. \x1b[2Jevil"
        return 1

    monkeypatch.setattr(SessionScreen, "run", run)

    assert screen.run_screen(RunOptions(kind="session", repo=Path("."))) == 1
    assert capsys.readouterr().err == "Session: unsolved. evil\n"
