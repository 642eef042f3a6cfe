"""A signal while Ostro still reads or loads what it needs: the contract's exit code, and one `end` where the
options have parsed."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.agent.running import ROOT
from tests.conftest import GitRepo

SIGNALLED = """
import atexit, os, sys
import ostro

class Finder:
    def find_spec(self, name, *_others):
        if name == place:
            sys.meta_path.remove(self)
            for _ in range(times):
                os.kill(os.getpid(), number)

place, number, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.meta_path.insert(0, Finder())
if place == "exit":
    atexit.register(os.kill, os.getpid(), number)
sys.argv = ["ostro", *sys.argv[4:]]
sys.exit(ostro.main())
"""
"""The signal comes in the moment when a module is imported."""
SIGNALS = [(2, 130), (15, 143)]


def signalled(repo: Path, place: str, number: int, times: int = 1) -> subprocess.CompletedProcess[str]:
    words = ["run", "--json", "--repo", str(repo), "--model", "no-such-model", "Wait."]
    argv = [sys.executable, "-c", SIGNALLED, place, str(number), str(times), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=repo, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("place", ["tui", "tui.command_line", "agent.events", "pydantic", "sandbox.box"])
def test_before_the_options_have_parsed_there_is_the_exit_code(
    git_repo: GitRepo, place: str, number: int, code: int
) -> None:
    ended = signalled(git_repo({}), place, number)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("place", ["tui.headless", "agent.session", "agent.chat_engine"])
def test_once_they_have_there_is_an_end(git_repo: GitRepo, place: str, number: int, code: int) -> None:
    ended = signalled(git_repo({}), place, number)
    [end] = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, end["type"], end["exit_code"]) == (code, "end", code), ended.stderr
    assert end["outcome"] == "interrupted" and ended.stderr == f"ostro: {end['reason']}\n"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_the_task_is_read_there_is_an_end(git_repo: GitRepo, number: int, code: int) -> None:
    words = ["run", "--json", "--repo", str(git_repo({})), "--model", "no-such-model", "-"]
    with subprocess.Popen(
        [sys.executable, ROOT / "ostro.py", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin
        process.stdin.write("Half a ta")
        process.stdin.flush()
        while process.poll() is None and waiting_in(process.stdin.fileno()):
            time.sleep(0.01)
        process.send_signal(number)
        out = process.stdout.read() if process.stdout else ""
        err = process.stderr.read() if process.stderr else ""
    [end] = map(json.loads, out.splitlines())
    assert (process.returncode, end["type"], end["exit_code"]) == (code, "end", code), err
    assert end["outcome"] == "interrupted" and err == f"ostro: {end['reason']}\n"


def waiting_in(pipe: int) -> int:
    """Bytes that nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_standard_input_that_cannot_be_read_is_said(git_repo: GitRepo) -> None:
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, ROOT / "ostro.py", "run", "--json", "-"]
    ended = subprocess.run(argv, cwd=git_repo({}), capture_output=True, text=True, timeout=60)
    [end] = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, end["exit_code"]) == (3, 3) and "Traceback" not in ended.stderr
    assert end["reason"] == "Standard input cannot be read (it is closed)."


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_second_one_ends_it_at_once(git_repo: GitRepo, number: int, code: int) -> None:
    ended = signalled(git_repo({}), "tui.headless", number, times=2)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


@pytest.mark.parametrize("number", [2, 15])
def test_after_the_end_its_exit_code_stands(git_repo: GitRepo, number: int) -> None:
    ended = signalled(git_repo({}), "exit", number)
    [end] = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, end["exit_code"]) == (3, 3) and "Traceback" not in ended.stderr
