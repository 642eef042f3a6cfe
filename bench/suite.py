"""Runs a repository's own test suite, and says which of its tests failed.

In a plain child process: the suites are pinned by hash or our own. An agent's patch is run by it too, when
it is judged; do that only in an environment that you would let the agent work in.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

PLUGIN = Path(__file__).parent / "pytest_outcomes"


class SuiteRun(BaseModel):
    exit_code: int | None
    """None where the time was over."""
    seconds: float
    passed: int = 0
    failed: list[str] = []
    """Node ids, sorted."""
    errors: list[str] = []
    """What could not be collected."""
    output: str = ""

    @property
    def green(self) -> bool:
        return self.exit_code == 0 and self.passed > 0


def environment(**extra: str) -> dict[str, str]:
    """This process's environment, where `python` is the one that runs the benchmark."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": path, **extra}


def run_suite(repo: Path, command: Sequence[str], seconds: float) -> SuiteRun:
    """Run the pytest `command` in `repo` for at most `seconds`; its process group ends with it."""
    with tempfile.TemporaryDirectory(prefix="ostro-suite-") as scratch:
        outcomes = Path(scratch) / "outcomes.json"
        # A mutation often keeps size and second of the file, which is all that a cached .pyc is checked by.
        variables = environment(
            PYTHONPATH=str(PLUGIN),
            PYTEST_ADDOPTS="-p ostro_outcomes -p no:cacheprovider",
            OSTRO_OUTCOMES=str(outcomes),
            PYTHONDONTWRITEBYTECODE="1",
        )
        began = time.monotonic()
        exit_code, output = run_group(command, repo, seconds, variables)
        found = json.loads(outcomes.read_text()) if outcomes.is_file() else {}
        return SuiteRun(
            exit_code=exit_code, seconds=time.monotonic() - began, output=output[-20_000:], **found
        )


def run_group(
    command: Sequence[str], cwd: Path, seconds: float, variables: dict[str, str]
) -> tuple[int | None, str]:
    """Exit code (None: out of time) and the interleaved output of a command and all its children."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            exit_code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            exit_code = None
        finally:
            _end_group(process)
        log.seek(0)
        return exit_code, log.read().decode(errors="replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
