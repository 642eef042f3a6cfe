"""What can happen to a chaos run: the processes of one in a folder of its own, and what strikes them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.agent.chaos_script import script

ROOT = Path(__file__).parents[2]
ENDS_WITHIN, RESTORES_IN = 60.0, 0.03
"""Seconds."""


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
        # Before its options have parsed there is the exit code alone, before Python has started none.
        unbegun = code in (-signal.SIGTERM, 128 + signal.SIGTERM) and not self.events
        if code != -signal.SIGKILL and not unbegun:
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
    """The folders of one run: a repository as its user left it, Ostro's own, one for pictures."""

    def __init__(self, folder: Path, pictures: Path, draw: random.Random) -> None:
        self.folder, self.pictures = folder, pictures
        self.repo, self.model = folder / "repo", folder / "model.gguf"
        self.script = script(draw)
        calls = [{"name": call.name, "arguments": call.arguments} for call in self.script]
        told = {"calls": calls, "repo": str(self.repo), "state": str(folder), "pictures": str(pictures)}
        self.model.write_text(json.dumps(told))
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
        return journals(self.folder)

    def ostro(self, *words: str) -> subprocess.Popen[str]:
        """The command itself, as a user calls it."""
        argv = [sys.executable, str(ROOT / "ostro.py"), *words]
        return subprocess.Popen(
            argv, cwd=self.repo, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


def journals(folder: Path) -> list[Path]:
    """Of the run in this folder: one, once it has begun."""
    return sorted(folder.glob("state/ostro/sessions/*/journal.jsonl"))


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


def kill(processes: list[psutil.Process]) -> bool:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return bool(processes)


def agent_killed(run: Running, draw: random.Random) -> bool:
    run.process.kill()
    return True


def sandbox_killed(run: Running, draw: random.Random) -> bool:
    return kill([process for process in run.inside() if _name(process) == "bwrap"])


def keeper_killed(run: Running, draw: random.Random) -> bool:
    """Or the supervisor, or the first process of a command: one of ours inside."""
    ours = [process for process in run.inside() if "inside.serve" in command_line(process)]
    return bool(ours) and kill([draw.choice(ours)])


def engine_killed(run: Running, draw: random.Random) -> bool:
    return kill(engines(run.place))


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


def undo_killed(place: Place, journal: Path, step: int, draw: random.Random) -> bool:
    """Not the run: `ostro undo`, more often than not while it puts files back. Whether it came in time."""
    before = journal.stat().st_size
    undo = place.ostro("undo", journal.parent.name, "--to", str(step))
    if draw.random() < 0.75:
        while undo.poll() is None and journal.stat().st_size == before:
            time.sleep(0.0005)
        time.sleep(draw.random() * RESTORES_IN)
    else:
        time.sleep(draw.random())
    undo.kill()
    undo.communicate()
    return undo.returncode == -signal.SIGKILL


Calamity = Callable[[Running, random.Random], bool]
UNDO_KILLED = "undo killed"
CALAMITIES: dict[str, Calamity] = {
    "agent killed": agent_killed,
    "sandbox killed": sandbox_killed,
    "keeper killed": keeper_killed,
    "engine killed": engine_killed,
    "terminated": terminated,
    "interrupted": interrupted,
    "journal full": journal_full,
    "disk full": disk_full,
    UNDO_KILLED: lambda run, draw: False,
}
"""What strikes a run; an undo is killed after it."""
ENDINGS = {
    "agent killed": {"killed"},
    "sandbox killed": {"done", "environment"},
    "keeper killed": {"done", "environment"},
    "engine killed": {"done", "environment"},
    "terminated": {"interrupted"},
    "interrupted": {"interrupted"},
    "journal full": {"environment"},
    "disk full": {"environment", "done"},
    UNDO_KILLED: {"done"},
}
"""The outcomes that each may lead to; `done` in any case, where it came too late."""


def engines(place: Place) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _is_engine(process, place)]


def _is_engine(process: psutil.Process, place: Place) -> bool:
    return (
        str(place.model) in command_line(process) and "engine.host" in command_line(process) and runs(process)
    )


def runs(process: psutil.Process) -> bool:
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


def command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""
