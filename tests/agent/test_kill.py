"""SIGKILL at random moments corrupts neither repository nor journal, and `--resume` goes on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent.journal import find, read
from agent.opening import open_session
from agent.options import RunOptions
from tests.agent.running import ROOT
from tests.agent.search.knowing_engine import KnowingEngine
from tests.agent.test_fix import RIGHT
from tests.conftest import GitRepo

NAMES = [f"f{n}.txt" for n in range(6)]
KILLS = 20


def start(repo: Path, session_file: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.agent.scripted_run", str(repo), json.dumps(NAMES), str(session_file)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def events_until(process: subprocess.Popen[str], count: int) -> int:
    """Reads so many events, or to the end of the output; how many there were."""
    assert process.stdout
    seen = 0
    while seen < count and process.stdout.readline():
        seen += 1
    return seen


def check_repository(repo: Path) -> None:
    subprocess.run(["git", "-C", str(repo), "fsck", "--strict"], check=True, capture_output=True)
    status = subprocess.run(
        ["git", "-C", str(repo), "status", "--porcelain"], check=True, capture_output=True, text=True
    )
    for line in status.stdout.splitlines():
        name = line.removeprefix("?? ")
        assert name in NAMES, f"{line!r} is no file of the task"
        assert (repo / name).read_text().startswith(f"{name} at "), "a file is whole or absent"


def test_killed_again_and_again_it_still_finishes(git_repo: GitRepo, tmp_path: Path):
    repo, session_file, draw = git_repo({"README": "hello\n"}), tmp_path / "session", random.Random(7)
    kills = finished = 0
    while kills < KILLS:
        process = start(repo, session_file)
        whole = events_until(process, draw.randint(1, 40))
        # Between two events as well as right after one.
        try:
            process.wait(draw.random() * 0.03)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        check_repository(repo)
        if session_file.exists():
            records = read(find(session_file.read_text()))
            assert records[0]["kind"] == "options" and whole
        if process.returncode == 0:  # it was done before we came to it: begin another
            finished += 1
            session_file.unlink()
            for name in NAMES:
                (repo / name).unlink()

    last = start(repo, session_file)
    output, _ = last.communicate(timeout=60)
    assert last.returncode == 0 and output.endswith("end\n")
    check_repository(repo)
    assert sorted(path.name for path in repo.glob("f*.txt")) == NAMES
    end = [record["event"] for record in read(find(session_file.read_text())) if record["kind"] == "event"][
        -1
    ]
    assert (end["outcome"], sorted(end["changed_files"])) == ("done", NAMES)


def test_a_candidate_nobody_verified_is_taken_back(git_repo: GitRepo, tmp_path: Path):
    broken = RIGHT.replace(">= 10", "> 10")
    repo, session_file = git_repo({"prices.py": broken, ".gitignore": "mark\n"}), tmp_path / "session"
    argv = [sys.executable, "-m", "tests.agent.fix_to_be_killed", str(repo), str(session_file)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while (repo / "prices.py").read_text() == broken:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    assert (repo / "prices.py").read_text() != broken
    (repo / "mark").unlink()

    events = asyncio.run(_resumed(session_file.read_text()))

    assert any(event.type == "warning" and "taken back" in event.text for event in events)
    assert (events[-1].outcome, events[-1].verified) == ("done", True), "found again, by the same search"


async def _resumed(session_id: str) -> list[Any]:
    async def open_engine() -> KnowingEngine:
        return KnowingEngine(RIGHT)

    options = RunOptions(kind="fix", resume=session_id, model="knowing")
    async with open_session(options, open_engine) as session:
        return [event async for event in session.run()]
