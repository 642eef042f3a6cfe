"""`--image`: read before anything is done, shown to a model that sees, kept so that it can be shown again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest

from agent.commands import Interrupt, SendMessage, Stop
from agent.events import Model, Warn
from agent.journal import find
from agent.opening import open_session
from agent.options import RunOptions
from engine.errors import BadImage, EngineDied, ImageMissing
from engine.request import MAX_IMAGE_BYTES, Capabilities, Message, ShownImage
from tests.agent.running import PYTHON, Ran, run
from tests.conftest import GitRepo
from tests.scripted_engine import Answer, ScriptedEngine, call, say

SHOT, OTHER = b"\x89PNG one", b"\x89PNG two"
SEES = Capabilities(model="seeing", family="mistral", context=32_768, effort="native", images=True)
FILES = {"a.py": "x = 1\n"}


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def seeing(*answers: Answer | Exception) -> ScriptedEngine:
    return ScriptedEngine(answers, capabilities=SEES)


def pictures(ran: Ran) -> list[tuple[str, tuple[str, ...]]]:
    return [(message.role, message.images) for message in ran.told if message.images]


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    path = tmp_path / "shot.png"
    path.write_bytes(SHOT)
    return path


async def test_images_come_with_the_task(git_repo: GitRepo, shot: Path):
    repo = git_repo({**FILES, "docs/inside.png": OTHER})
    engine = seeing(say("A cat."))
    ran = await run(repo, engine=engine, image=(shot, repo / "docs/inside.png"))

    assert ran.end.outcome == "done"
    assert engine.shown == [SHOT, OTHER]
    assert pictures(ran) == [("user", (name(SHOT), name(OTHER)))]
    kept = find(ran.session).parent / "images"
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == {name(SHOT): SHOT, name(OTHER): OTHER}
    assert kept.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in kept.iterdir())


async def test_a_hash_is_no_secret(git_repo: GitRepo, shot: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_KEY", name(SHOT)[:20])
    ran = await run(git_repo(FILES), engine=seeing(say("A cat.")), image=(shot,))
    messages = [Message.model_validate(each["message"]) for each in ran.records if each["kind"] == "message"]
    assert [message.images for message in messages if message.images] == [(name(SHOT),)]


async def test_a_model_without_eyes_is_said_in_one_sentence(git_repo: GitRepo, shot: Path):
    engine = ScriptedEngine()
    ran = await run(git_repo(FILES), engine=engine, image=(shot,))

    assert (ran.end.outcome, ran.end.exit_code) == ("environment", 3)
    assert ran.end.reason == (
        "scripted cannot see images; leave --image out, or name a model that can with --model."
    )
    assert not engine.requests and not engine.shown


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)


def make_unreadable(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in the repository"])
@pytest.mark.parametrize(
    "make", [lambda path: None, Path.mkdir, make_pipe, make_large, make_unreadable],
    ids=["missing", "folder", "pipe", "large", "circle"],
)  # fmt: skip
async def test_what_is_no_file_of_a_size_is_refused_before_the_model_is_opened(
    git_repo: GitRepo, tmp_path: Path, make, inside: bool
):
    repo = git_repo(FILES)
    path = (repo if inside else tmp_path) / "shot.png"
    make(path)
    ran = await run(repo, engine=seeing(), image=(path,))

    assert (ran.end.outcome, ran.end.exit_code) == ("usage", 2)
    assert "shot.png" in ran.end.reason and "\n" not in ran.end.reason
    assert not ran.of(Model)


async def test_the_repository_cannot_lead_out_of_itself(git_repo: GitRepo, tmp_path: Path, shot: Path):
    """Not through the file, and not through a folder on its way: the sandbox reads both."""
    repo = git_repo(FILES)
    (repo / "link.png").symlink_to(shot)
    (repo / "folder").symlink_to(tmp_path)
    for path in (repo / "link.png", repo / "folder" / "shot.png"):
        ran = await run(repo, engine=seeing(), image=(path,))
        assert ran.end.outcome == "usage" and not ran.engine.shown


async def test_a_link_into_the_repository_is_read_by_the_sandbox(git_repo: GitRepo, tmp_path: Path):
    repo = git_repo({**FILES, "docs/inside.png": SHOT})
    (tmp_path / "docs").symlink_to(repo / "docs")
    (tmp_path / "mine.png").symlink_to(Path("docs", "inside.png"))
    for path in (tmp_path / "docs" / "inside.png", tmp_path / "mine.png"):
        ran = await run(repo, engine=seeing(say("A cat.")), image=(path,))
        assert ran.engine.shown == [SHOT]


@pytest.mark.parametrize("way", ["mine.png", "mine/shot.png", "twice.png"])
async def test_a_link_into_the_repository_does_not_lead_out_again(
    git_repo: GitRepo, tmp_path: Path, shot: Path, way: str
):
    """A link of the user's ends at one that a command may have made."""
    repo = git_repo(FILES)
    (repo / "link.png").symlink_to(shot)
    (repo / "folder").symlink_to(tmp_path)
    (tmp_path / "mine.png").symlink_to(repo / "link.png")
    (tmp_path / "mine").symlink_to(repo / "folder")
    (tmp_path / "twice.png").symlink_to("mine.png")
    ran = await run(repo, engine=seeing(), image=(tmp_path / way,))
    assert ran.end.outcome == "usage" and not ran.engine.shown


async def test_a_link_between_the_users_files_is_followed(git_repo: GitRepo, tmp_path: Path, shot: Path):
    (tmp_path / "mine.png").symlink_to(shot)
    ran = await run(git_repo(FILES), engine=seeing(say("A cat.")), image=(tmp_path / "mine.png",))
    assert ran.engine.shown == [SHOT]


async def test_what_the_engine_cannot_decode_is_wrong_usage(git_repo: GitRepo, shot: Path):
    class Refusing(ScriptedEngine):
        async def show(self, data: bytes) -> ShownImage:
            raise BadImage("The image is damaged or cut off (eof).")

    ran = await run(git_repo(FILES), engine=Refusing(capabilities=SEES), image=(shot,))
    assert (ran.end.outcome, ran.end.exit_code) == ("usage", 2)
    assert ran.end.reason == f"{shot}: The image is damaged or cut off (eof)."


async def test_an_engine_that_died_or_let_go_is_shown_them_again(git_repo: GitRepo, shot: Path):
    repo = git_repo(FILES)
    engine = seeing(call("list", path="."), EngineDied("It died."), say("A cat."))
    ran = await run(repo, engine=engine, image=(shot,))
    assert ran.end.outcome == "done" and ran.of(Warn)[-1].text.startswith("It died.")
    assert engine.shown == [SHOT, SHOT]

    engine = seeing(ImageMissing("Show it again."), say("A cat."))
    ran = await run(repo, engine=engine, image=(shot,))
    assert ran.end.outcome == "done" and engine.shown == [SHOT, SHOT]


async def test_a_resumed_session_shows_its_own_copy(git_repo: GitRepo, shot: Path):
    repo = git_repo(FILES)
    first = await run(repo, engine=seeing(call("list", path=".")), image=(shot,), max_steps=1)
    assert first.end.outcome == "limit"
    shot.write_bytes(b"something else")
    ran = await run(repo, engine=seeing(say("A cat.")), resume=first.session)
    assert ran.end.outcome == "done" and ran.engine.shown == [SHOT]
    assert pictures(ran) == [("user", (name(SHOT),))]

    copy = find(first.session).parent / "images" / name(SHOT)
    copy.write_bytes(b"damaged")
    ran = await run(repo, engine=seeing(), resume=first.session)
    assert (ran.end.outcome, ran.engine.shown) == ("environment", [])
    assert ran.end.reason == "An image of this session is not kept any more; start a new one."


async def test_in_a_session_they_come_with_the_first_message(git_repo: GitRepo, shot: Path):
    engine = seeing(say("A cat."), say("Black."))

    async def open_engine() -> ScriptedEngine:
        return engine

    options = RunOptions(kind="session", repo=git_repo(FILES), model="scripted", image=(shot,))
    async with open_session(options, open_engine) as session:
        session.send(SendMessage(text="What is it?"))
        said = 0
        async for event in session.run():
            if event.type == "usage":
                said += 1
                session.send(SendMessage(text="Of which colour?") if said == 1 else Stop())
    turns = [message.images for message in engine.requests[-1].messages if message.role == "user"]
    assert turns == [(name(SHOT),), ()]


async def test_a_session_goes_on_without_what_its_model_cannot_see(git_repo: GitRepo, shot: Path):
    engine = ScriptedEngine([say("Here.")])

    async def open_engine() -> ScriptedEngine:
        return engine

    options = RunOptions(kind="session", repo=git_repo(FILES), model="scripted", image=(shot,))
    warned: list[str] = []
    async with open_session(options, open_engine) as session:
        session.send(SendMessage(text="What is it?"))
        async for event in session.run():
            if isinstance(event, Warn) and "cannot see images" in event.text:
                warned.append(event.text)
                session.send(SendMessage(text="Are you there?"))
            if event.type == "usage":
                session.send(Stop())
    assert len(warned) == len(engine.requests) == 1
    assert not any(message.images for message in engine.requests[0].messages)
    assert asked(engine) == [("What is it?", ()), ("Are you there?", ())]


class Failing(ScriptedEngine):
    """Comes to grief at its first images."""

    def __init__(self, *problems: Exception) -> None:
        super().__init__([say("A cat."), say("Black.")], capabilities=SEES)
        self._problems = list(problems)

    async def show(self, data: bytes) -> ShownImage:
        if self._problems:
            raise self._problems.pop(0)
        return await super().show(data)


async def conversation(repo: Path, engine: ScriptedEngine, *images: Path) -> list[str]:
    """Two messages, the second one after the first has failed or is answered; the warnings."""

    async def open_engine() -> ScriptedEngine:
        return engine

    warned: list[str] = []
    to_do = [SendMessage(text="Of which colour?"), Stop()]
    options = RunOptions(kind="session", repo=repo, model="scripted", image=images)
    async with open_session(options, open_engine) as session:
        session.send(SendMessage(text="What is it?"))
        async for event in session.run():
            if isinstance(event, Warn):
                warned.append(event.text)
            if event.type == "usage" or (isinstance(event, Warn) and event.text == session.unfinished):
                session.send(to_do.pop(0))
    return warned


def asked(engine: ScriptedEngine) -> list[tuple[str, tuple[str, ...]]]:
    told = engine.requests[-1].messages
    return [(message.content, message.images) for message in told if message.role == "user"]


async def test_an_engine_that_dies_of_an_image_is_started_again(git_repo: GitRepo, shot: Path):
    engine = Failing(EngineDied("It died."))
    warned = await conversation(git_repo(FILES), engine, shot)
    assert warned == ["It died. It is started again."]
    assert asked(engine) == [("What is it?", (name(SHOT),)), ("Of which colour?", ())]


async def test_what_could_not_be_shown_comes_with_the_next_message(git_repo: GitRepo, shot: Path):
    engine = Failing(EngineDied("It died."), EngineDied("Again."))
    warned = await conversation(git_repo(FILES), engine, shot)
    assert warned == ["It died. It is started again.", "Again."]
    assert asked(engine) == [("What is it?", ()), ("Of which colour?", (name(SHOT),))]


async def test_a_bad_image_takes_no_other_along(git_repo: GitRepo, tmp_path: Path, shot: Path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(OTHER)
    engine = Failing(BadImage("It is damaged."))
    warned = await conversation(git_repo(FILES), engine, bad, shot)
    assert warned == [f"{bad}: It is damaged."]
    assert asked(engine) == [("What is it?", ()), ("Of which colour?", (name(SHOT),))]


async def test_an_interrupted_turn_keeps_them(git_repo: GitRepo, shot: Path):
    class Slow(Failing):
        async def show(self, data: bytes) -> ShownImage:
            if not self.slow:
                return await super().show(data)
            self.slow = False
            session.send(Interrupt())
            await asyncio.sleep(3600)
            raise AssertionError

        slow = True

    engine = Slow()

    async def open_engine() -> ScriptedEngine:
        return engine

    options = RunOptions(kind="session", repo=git_repo(FILES), model="scripted", image=(shot,))
    async with open_session(options, open_engine) as session:
        session.send(SendMessage(text="What is it?"))
        async for event in session.run():
            if isinstance(event, Warn) and event.text == "Interrupted.":
                session.send(SendMessage(text="Well?"))
            if event.type == "usage":
                session.send(Stop())
    assert asked(engine) == [("What is it?", ()), ("Well?", (name(SHOT),))]


async def test_fix_shows_them_with_the_report(git_repo: GitRepo, shot: Path):
    repo = git_repo({"check.py": "raise SystemExit(open('a.txt').read() != 'b')\n", "a.txt": "a"})
    command = [PYTHON, "check.py"]
    engine = seeing(call("write", path="a.txt", content="b"), say("Done."))
    ran = await run(repo, engine=engine, kind="fix", command=command, image=(shot,), task=None)
    assert ran.end.outcome == "done" and engine.shown == [SHOT]
    assert [images for role, images in pictures(ran)] == [(name(SHOT),)]

    (repo / "a.txt").write_text("a")
    ran = await run(repo, kind="fix", command=command, image=(shot,), task=None)
    assert ran.end.outcome == "environment" and "cannot see images" in ran.end.reason
    assert not ran.engine.score_requests


async def test_fix_needs_no_eyes_where_nothing_is_to_be_done(git_repo: GitRepo, shot: Path):
    ran = await run(git_repo(FILES), kind="fix", command=[PYTHON, "a.py"], image=(shot,), task=None)
    assert ran.end.outcome == "done" and not ran.of(Model)


def test_the_options_go_through_the_journal(tmp_path: Path):
    options = RunOptions(kind="run", task="x", image=(tmp_path / "a.png",), memory=1 << 30)
    assert RunOptions.model_validate(json.loads(options.model_dump_json())) == options
