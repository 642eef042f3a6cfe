"""SIGKILL at random moments corrupts neither repository nor journal, and `--resume` goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from agent.journal import find, read
from tests.agent.running import ROOT
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
