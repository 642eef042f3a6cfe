"""Standard output on a full disk: exit code 3 and one sentence, also where only the last flush fails."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.agent.running import ROOT
from tests.conftest import GitRepo
from tests.tui.test_command_line import one_sentence


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [["models", "list"], ["doctor", "--json"], ["fix", "--", "true"], ["fix", "--json", "--", "true"]],
    ids=" ".join,
)
def test_a_full_disk(git_repo: GitRepo, words: list[str], unbuffered: str):
    done = on_a_full_disk(git_repo, words, unbuffered)

    assert done.returncode == 3 and "No space left on device" in one_sentence(done)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_what_argparse_prints(git_repo: GitRepo, word: str):
    done = on_a_full_disk(git_repo, [word], "")

    assert done.returncode == 3 and "Standard output cannot be written" in one_sentence(done)


def test_a_run_that_cannot_begin(git_repo: GitRepo):
    done = on_a_full_disk(git_repo, ["run", "--json"], "")

    assert done.returncode == 3 and "No space left on device" in one_sentence(done)


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "2> >(:)"])
@pytest.mark.parametrize(
    ("words", "code"),
    [("fix -- true", 0), ("fix --json -- no-such-program", 3), ("run", 2), ("models list --frobnicate", 2)],
)
def test_standard_error_that_cannot_be_written(git_repo: GitRepo, words: str, code: int, redirected: str):
    command = f"{sys.executable} {ROOT / 'ostro.py'} {words} {redirected}"
    done = subprocess.run(["bash", "-c", command], cwd=git_repo({}), capture_output=True, timeout=60)

    assert (done.returncode, done.stderr) == (code, b"")
    assert b"ostro: " not in done.stdout


def on_a_full_disk(git_repo: GitRepo, words: list[str], unbuffered: str) -> subprocess.CompletedProcess[str]:
    with open("/dev/full", "w") as full:
        return subprocess.run(
            [sys.executable, str(ROOT / "ostro.py"), *words],
            cwd=git_repo({"a.py": "x = 1\n"}),
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
