"""One run that meets a calamity, all of it drawn from a seed, and what has to hold whatever happens.

A scripted session of six to ten calls runs in processes of its own: the agent, its sandbox, an engine. At
some event one calamity strikes. Then the run has ended as it should, nothing of it is left, the repository's
git folder and the user's ignored files are to the byte what they were, `--resume` finishes the task, and
every checkpoint that the journal names can be brought back, by `ostro undo` too: exact trees, each call's
effect there once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import pickle
import random
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agent.journal import Record, read
from agent.timeline import Timeline
from engine.request import Message
from sandbox import Sandbox
from sandbox.workspace import Workspace
from tests.agent.chaos_calamities import (
    CALAMITIES,
    ENDINGS,
    ENDS_WITHIN,
    UNDO_KILLED,
    Place,
    Running,
    command_line,
    engines,
    kill,
    runs,
    undo_killed,
)
from tests.agent.chaos_model import looks
from tests.agent.chaos_script import Call, Tree, possible
from tests.chaos import Picture

DISK_BYTES = 24 << 20
"""Of the small disk that a calamity fills."""
GONE_WITHIN = 20.0
"""Seconds."""
SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Survived:
    """How a run ended that met a calamity: `end` is its outcome, `resumed` that of going on, "" for none."""

    calamity: str
    struck: bool
    end: str
    resumed: str
    checkpoints: int


def survive(seed: int, folder: Path) -> Survived:
    """One run in an empty folder with a short path. Raises AssertionError where something does not hold."""
    draw = random.Random(seed)
    name = list(CALAMITIES)[seed % len(CALAMITIES)]
    # Beside it: a full disk is to keep nobody from looking.
    with (
        tempfile.TemporaryDirectory(prefix="ostro-pictures-") as pictures,
        _orphans_adopted(),
        _small_disk(folder) if name == "disk full" else contextlib.nullcontext(),
    ):
        place = Place(folder, Path(pictures), draw)
        try:
            return _Trial(place, name, draw).run()
        finally:
            kill(engines(place))


class _Trial:
    """One run, what strikes it, and what has to hold then."""

    def __init__(self, place: Place, name: str, draw: random.Random) -> None:
        self._place, self._name, self._draw = place, name, draw
        self._repo = place.repo
        self._start, self._seen_at_start = looks(place.repo), _seen(place.repo)
        self._kept = _git(place.repo), _ignored(place.repo)

    def run(self) -> Survived:
        first = Running(self._place, str(self._repo))
        struck = self._strike(first)
        first.finish()
        assert not first.events or first.end in {*ENDINGS[self._name], "done"}, first.events[-1]
        self._nothing_of_the_users_changed()
        (self._place.folder / "filler").unlink(missing_ok=True)

        journals = self._place.journals()
        assert len(journals) <= 1
        if not journals or not read(journals[0]):
            assert looks(self._repo) == self._start
            return Survived(self._name, struck, first.end, "", 0)
        resumed = self._resume(journals[0].parent.name)
        self._nothing_of_the_users_changed()
        self._each_call_ran_once(read(journals[0]), resumed)
        trees = [record["tree"] for record in read(journals[0]) if record["kind"] == "tree"]
        struck |= self._back_and_forth(journals[0], trees)
        asyncio.run(self._bring_back(trees))
        self._nothing_of_the_users_changed()
        return Survived(self._name, struck, first.end, resumed, len(trees))

    def _strike(self, running: Running) -> bool:
        if self._name == UNDO_KILLED or not running.events_until(self._draw.randint(0, 45)):
            return False
        time.sleep(self._draw.random() * 0.05)
        return CALAMITIES[self._name](running, self._draw)

    def _nothing_of_the_users_changed(self) -> None:
        _nothing_is_left(self._place)
        assert (_git(self._repo), _ignored(self._repo)) == self._kept

    def _resume(self, session: str) -> str:
        """The outcome of going on, which finishes the task unless the session had not begun."""
        again = Running(self._place, "--resume", session)
        again.finish()
        if again.end == "usage":
            assert "start a new one" in again.events[-1]["reason"]
        else:
            assert again.end == "done", again.events[-1]
        return again.end

    def _each_call_ran_once(self, records: list[Record], resumed: str) -> None:
        """Asked for once, answered once; and the tree says that it ran once."""
        messages = [
            Message.model_validate(record["message"]) for record in records if record["kind"] == "message"
        ]
        asked = [call for message in messages for call in message.tool_calls]
        script = self._place.script[: None if resumed == "done" else 0]
        assert [call.name for call in asked] == [call.name for call in script]
        assert [json.loads(call.arguments) for call in asked] == [call.arguments for call in script]
        results = [message.tool_call_id for message in messages if message.role == "tool"]
        assert results == [call.id for call in asked]

        events = [record["event"] for record in records if record["kind"] == "event"]
        said = {event["id"]: event for event in events if event["type"] == "tool_result"}
        ran = [(call, _surely(call, said.get(id))) for call, id in zip(script, results, strict=True)]
        now, may = _seen(self._repo), possible(self._seen_at_start, ran)
        for path in {*now, *may, *self._seen_at_start}:
            expected = may.get(path, {self._seen_at_start.get(path)})
            assert now.get(path) in expected, (path, now.get(path), expected)

    def _back_and_forth(self, journal: Path, trees: list[str]) -> bool:
        """By the command: to an earlier step, and back. Whether an undo was killed on the way."""
        pictures, now = self._pictures(trees), looks(self._repo)
        earlier = [step for step, tree in enumerate(trees[:-1]) if tree in pictures]
        if not earlier:
            return False
        step = self._draw.choice(earlier)
        there, session, killed = pictures[trees[step]], journal.parent.name, False
        if self._name == UNDO_KILLED:
            killed = undo_killed(self._place, journal, step, self._draw)
            _nothing_is_left(self._place)
        timeline = Timeline.read(read(journal))
        if timeline.pending and self._draw.random() < 0.5:
            self._ostro("redo", session)  # takes it back
            assert looks(self._repo) == now
            return killed
        if timeline.pending:
            self._ostro("undo", session)  # goes on with it
        elif timeline.at and timeline.at.step != step:
            assert looks(self._repo) == now
            self._ostro("undo", session, "--to", str(step), "--force")
        assert looks(self._repo) == there
        self._ostro("redo", session)
        assert looks(self._repo) == now
        return killed

    def _ostro(self, *words: str) -> None:
        running = self._place.ostro(*words)
        said, _ = running.communicate(timeout=ENDS_WITHIN)
        assert running.returncode == 0, said
        _nothing_is_left(self._place)

    def _pictures(self, trees: list[str]) -> dict[str, Picture]:
        """How the tree looked outside, by checkpoint; not at one after which nothing was asked any more."""
        pictures = {trees[0]: self._start}
        for file in sorted(self._place.pictures.iterdir()):
            tree, taken = pickle.loads(file.read_bytes())
            assert pictures.setdefault(tree, taken) == taken, "one checkpoint, two trees"
        return pictures

    async def _bring_back(self, trees: list[str]) -> None:
        """Each checkpoint stands again, to the byte as it looked outside."""
        now, pictures = looks(self._repo), self._pictures(trees)
        with _environment(self._place.own):
            async with await Sandbox.open(self._repo) as box:
                for tree in reversed(trees):
                    await back_to(box.workspace, tree)
                    assert await box.workspace.snapshot() == tree
                    assert looks(self._repo) == pictures.get(tree, looks(self._repo))
                await back_to(box.workspace, trees[-1])
                assert looks(self._repo) == now


def _surely(call: Call, result: dict[str, Any] | None) -> bool:
    """Whether its result says that it ran to its end."""
    if result is None:
        return False
    return result["ok"] if call.exit_code is None else result["data"].get("exit_code") == call.exit_code


async def back_to(workspace: Workspace, tree: str) -> None:
    """What `undo` does to the files."""
    await workspace.restore(tree)


def _nothing_is_left(place: Place) -> None:
    """Neither of the sandbox, whose processes would be this one's children by now, nor the engine."""
    deadline = time.monotonic() + GONE_WITHIN
    while left := [p for p in psutil.Process().children(recursive=True) if runs(p)] + engines(place):
        assert time.monotonic() < deadline, [command_line(process) for process in left]
        time.sleep(0.02)


def _seen(repo: Path) -> Tree:
    """What git would see: all that is not ignored."""
    listed = ["git", "-C", str(repo), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True).stdout.decode().split("\0")
    return {name: _entry(repo / name) for name in names if name and os.path.lexists(repo / name)}


def _ignored(repo: Path) -> Tree:
    return {name: _entry(repo / name) for name in ("user.ignored", "out/made")}


def _git(repo: Path) -> Tree:
    """All of it, but an empty `hooks`."""
    files = [path for path in sorted((repo / ".git").rglob("*")) if path.is_symlink() or not path.is_dir()]
    return {str(path.relative_to(repo)): _entry(path) for path in files}


def _entry(path: Path) -> tuple[int, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return stat.S_IFLNK, os.fsencode(os.readlink(path))
    return stat.S_IFREG | mode & 0o100, path.read_bytes()


@contextlib.contextmanager
def _orphans_adopted() -> Iterator[None]:
    """What outlives the agent becomes this process's child, so that it is seen and nobody else's is."""
    c = ctypes.CDLL(None)
    c.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        c.prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own for all of a run, where this user may mount one."""
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "ostro-chaos", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
