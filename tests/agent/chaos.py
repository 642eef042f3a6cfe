"""One run that meets a calamity, all of it drawn from a seed, and what has to hold whatever happens.

A scripted session of six to ten calls runs in processes of its own: the agent, its sandbox, an engine. At
some event one calamity strikes. Then the run has ended as it should, nothing of it is left, the repository's
git folder and the user's ignored files are to the byte what they were, `--resume` finishes the task, and
every checkpoint that the journal names can be brought back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agent.journal import read
from sandbox import Sandbox
from sandbox.workspace import Workspace

ROOT = Path(__file__).parents[2]
DISK_BYTES = 24 << 20
"""Of the small disk that a calamity fills."""
ENDS_WITHIN, GONE_WITHIN = 60.0, 20.0
"""Seconds."""
SET_CHILD_SUBREAPER = 36

Tree = dict[str, tuple[int, bytes]]
"""Mode and content (of a link, its target) by path."""


@dataclass(frozen=True)
class Survived:
    """How a run ended that met a calamity: `end` is its outcome, `resumed` that of going on, "" for none."""

    calamity: str
    struck: bool
    end: str
    resumed: str
    checkpoints: int


class Running:
    """One agent process and what it says."""

    def __init__(self, place: Place, *where: str) -> None:
        self.place = place
        self.events: list[dict[str, Any]] = []
        argv = [sys.executable, "-m", "tests.agent.chaos_model", str(place.model), *where]
        # Pipes, which a full disk does not fill; what it says on standard error fits into one.
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def events_until(self, count: int) -> bool:
        """Reads so many events; whether there were as many."""
        assert self.process.stdout
        while len(self.events) < count:
            line = self.process.stdout.readline()
            if not line.endswith("\n"):
                return False
            self.events.append(json.loads(line))
        return True

    def finish(self) -> None:
        """Waits for its end, which comes in time."""
        assert self.process.stdout and self.process.stderr
        late = threading.Event()
        timer = threading.Timer(ENDS_WITHIN, lambda: (late.set(), self.process.kill()))
        timer.start()
        with self.process:
            self.events_until(sys.maxsize)
            said = self.process.stderr.read()
        timer.cancel()
        assert not late.is_set(), f"it did not end within {ENDS_WITHIN:g} s"
        code = self.process.returncode
        assert "Traceback" not in said, said
        ends = [event for event in self.events if event["type"] == "end"]
        if code != -signal.SIGKILL:
            assert [end["exit_code"] for end in ends] == [code], (code, said)
            assert ends[0]["outcome"] != "fault", ends[0]["reason"]
            assert "\n" not in ends[0]["reason"], "one sentence"

    @property
    def end(self) -> str:
        last = self.events[-1] if self.events else {"type": ""}
        return last["outcome"] if last["type"] == "end" else "killed"

    def inside(self) -> list[psutil.Process]:
        """Its bubblewraps and all that runs in them, outermost first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.process.pid).children(recursive=True)
            return [process for process in below if not _is_engine(process, self.place)]
        return []


class Place:
    """The folders of one run: a repository as its user left it, and Ostro's own."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder = folder
        self.repo, self.model = folder / "repo", folder / "model.gguf"
        self.model.write_text(json.dumps(calls(draw)))
        self.repo.mkdir()
        for name in ("run", "state", "cache", "home"):
            (folder / name).mkdir(mode=0o700)
        own = {"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache", "HOME": "home"}
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.own = {name: str(folder / path) for name, path in own.items()}
        # CI: the engine ends with its client.
        self.environment = {**kept, **self.own, "CI": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        _make_repository(self.repo, self.environment)

    def journals(self) -> list[Path]:
        return sorted(self.folder.glob("state/ostro/sessions/*/journal.jsonl"))


def calls(draw: random.Random) -> list[dict[str, Any]]:
    """Six to ten calls; the first makes the file that others edit."""
    made = [_call("write", path="notes.py", content="A = 0\nB = 0\n")]
    for number in range(draw.randint(5, 9)):
        made.append(draw.choice(KINDS)(number))
    return made


def _call(name: str, **arguments: object) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


KINDS: tuple[Callable[[int], dict[str, Any]], ...] = (
    lambda n: _call("write", path=f"new/{n}.txt", content=f"text {n}\n" * 200),
    lambda n: _call("edit", path="notes.py", old="A = 0\n", new=f"A = 0\nC{n} = {n}\n"),
    lambda n: _call("edit", path="notes.py", old="not there", new="never"),
    lambda n: _call("read", path="tracked.txt"),
    lambda n: _call("shell", command=f"echo {n} >> tracked.txt; printf '\\0\\377{n}' > bytes.bin"),
    lambda n: _call("shell", command=f"mkdir -p d{n} && ln -sf ../tracked.txt d{n}/link; chmod +x notes.py"),
    lambda n: _call("shell", command="rm -f untracked.txt; exit 3"),
    lambda n: _call("shell", command=f"for i in 1 2 3; do echo $i > p{n}; sleep 0.1; done; setsid sleep 9 &"),
    lambda n: _call("shell", command=f"head -c 300000 /dev/urandom > big-{n}.bin; no-such-program"),
)  # fmt: skip


def _make_repository(repo: Path, environment: dict[str, str]) -> None:
    (repo / "tracked.txt").write_text("tracked\r\n")
    (repo / ".gitignore").write_text("*.ignored\nout/\n")
    (repo / "out").mkdir()
    for name, content in (("user.ignored", b"\0mine"), ("out/made", b"mine too")):
        (repo / name).write_bytes(content)
    git = ["git", "-C", str(repo), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *arguments], check=True, env=environment)
    (repo / "untracked.txt").write_text("the user's, not added yet\n")
    (repo / "tracked.txt").write_text("tracked\r\nchanged\n")


# What can happen. Each is told of the running agent, and says whether it could strike.


def _kill(processes: list[psutil.Process]) -> bool:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return bool(processes)


def agent_killed(run: Running, draw: random.Random) -> bool:
    run.process.kill()
    return True


def sandbox_killed(run: Running, draw: random.Random) -> bool:
    return _kill([process for process in run.inside() if _name(process) == "bwrap"])


def keeper_killed(run: Running, draw: random.Random) -> bool:
    """Or the supervisor, or the first process of a command: one of ours inside."""
    ours = [process for process in run.inside() if "inside.serve" in _command_line(process)]
    return bool(ours) and _kill([draw.choice(ours)])


def engine_killed(run: Running, draw: random.Random) -> bool:
    return _kill(engines(run.place))


def terminated(run: Running, draw: random.Random) -> bool:
    run.process.terminate()
    return True


def interrupted(run: Running, draw: random.Random) -> bool:
    run.process.send_signal(signal.SIGINT)
    return True


def journal_full(run: Running, draw: random.Random) -> bool:
    """Nothing can be written any more by the agent itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(run.process.pid).rlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return True
    return False


def disk_full(run: Running, draw: random.Random) -> bool:
    """Repository, journal and checkpoints lie on one disk."""
    with contextlib.suppress(OSError), (run.place.folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(1 << 16)):
            pass
    return True


Calamity = Callable[[Running, random.Random], bool]
CALAMITIES: dict[str, Calamity] = {
    "agent killed": agent_killed,
    "sandbox killed": sandbox_killed,
    "keeper killed": keeper_killed,
    "engine killed": engine_killed,
    "terminated": terminated,
    "interrupted": interrupted,
    "journal full": journal_full,
    "disk full": disk_full,
}
ENDINGS = {
    "agent killed": {"killed"},
    "sandbox killed": {"done", "environment"},
    "keeper killed": {"done", "environment"},
    "engine killed": {"done", "environment"},
    "terminated": {"interrupted"},
    "interrupted": {"interrupted"},
    "journal full": {"environment"},
    "disk full": {"environment", "done"},
}
"""The outcomes that each may lead to; `done` in any case, where it came too late."""


def survive(seed: int, folder: Path) -> Survived:
    """One run in an empty folder with a short path. Raises AssertionError where something does not hold."""
    draw = random.Random(seed)
    name = list(CALAMITIES)[seed % len(CALAMITIES)]
    with _orphans_adopted(), _small_disk(folder) if name == "disk full" else contextlib.nullcontext():
        place = Place(folder, draw)
        try:
            return _survive(place, name, draw)
        finally:
            _kill(engines(place))


def _survive(place: Place, name: str, draw: random.Random) -> Survived:
    git_before, files_before, ignored_before = _git(place.repo), _seen(place.repo), _ignored(place.repo)
    first = Running(place, str(place.repo))
    struck = False
    if first.events_until(draw.randint(0, 45)):
        time.sleep(draw.random() * 0.05)
        struck = CALAMITIES[name](first, draw)
    first.finish()
    assert first.end in {*ENDINGS[name], "done"}, first.events[-1]
    _nothing_is_left(place)
    (place.folder / "filler").unlink(missing_ok=True)
    assert _git(place.repo) == git_before
    assert _ignored(place.repo) == ignored_before

    journals = place.journals()
    assert len(journals) <= 1
    records = read(journals[0]) if journals else []
    resumed = _resume(place, journals[0].parent.name) if records else ""
    assert _git(place.repo) == git_before
    assert _ignored(place.repo) == ignored_before
    trees = [record["tree"] for record in read(journals[0]) if record["kind"] == "tree"] if journals else []
    asyncio.run(_bring_back(place, trees, files_before))
    assert _git(place.repo) == git_before
    assert _ignored(place.repo) == ignored_before
    return Survived(name, struck, first.end, resumed, len(trees))


def _resume(place: Place, session: str) -> str:
    """The outcome of going on, which finishes the task unless the session had not begun."""
    again = Running(place, "--resume", session)
    again.finish()
    _nothing_is_left(place)
    if again.end == "usage":
        assert "start a new one" in again.events[-1]["reason"]
    else:
        assert again.end == "done", again.events[-1]
    return again.end


async def back_to(workspace: Workspace, tree: str) -> None:
    """What `undo` does to the files."""
    await workspace.restore(tree)


async def _bring_back(place: Place, trees: list[str], files_at_start: Tree) -> None:
    """Each checkpoint stands again, the first as the user had left the files, the last as the run had."""
    if not trees:
        return
    now = _seen(place.repo)
    with _environment(place.own):
        async with await Sandbox.open(place.repo) as box:
            for tree in reversed(trees):
                await back_to(box.workspace, tree)
                assert await box.workspace.snapshot() == tree
                if tree == trees[0]:
                    assert _seen(place.repo) == files_at_start
            await back_to(box.workspace, trees[-1])
            assert _seen(place.repo) == now


def _nothing_is_left(place: Place) -> None:
    """Neither of the sandbox, whose processes would be this one's children by now, nor the engine."""
    deadline = time.monotonic() + GONE_WITHIN
    while left := [p for p in psutil.Process().children(recursive=True) if _runs(p)] + engines(place):
        assert time.monotonic() < deadline, [_command_line(process) for process in left]
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


def engines(place: Place) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _is_engine(process, place)]


def _is_engine(process: psutil.Process, place: Place) -> bool:
    return (
        str(place.model) in _command_line(process)
        and "engine.host" in _command_line(process)
        and _runs(process)
    )


def _runs(process: psutil.Process) -> bool:
    """Else it has ended; whoever adopted it waits for it here."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def _command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""


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
