"""Whatever comes of a look at what is not committed: git started no program of the configuration for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from sandbox import HistoryProblem

from .conftest import Opener, git

STARTS = {
    "monitor": "[core]\n\tfsmonitor = {program}\n",
    "filter": '[filter "f"]\n\tclean = {program}\n\trequired = true\n',
    "process": '[filter "f"]\n\tprocess = {program}\n\trequired = true\n',
}


def look_without_the_service(repo: Path) -> None:
    subprocess.run(["git", "-C", str(repo), "status"], capture_output=True, check=False)


@pytest.mark.parametrize("kind", STARTS)
async def test_nothing_is_started(repo: Path, kind: str, open_sandbox: Opener) -> None:
    program, marker, source = repo / "program", repo / "marker.log", repo / "src" / "calc.py"
    program.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    program.chmod(0o755)
    (repo / ".gitattributes").write_text("*.py filter=f\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "hostile")
    with (repo / ".git" / "config").open("a") as file:
        file.write(STARTS[kind].format(program=program))
    box = await open_sandbox()
    touched = iter(range(1, 9))

    def touch() -> None:
        """Of another time and the same size, so that only its content tells whether it has changed."""
        os.utime(source, (now := next(touched), now))
        marker.unlink(missing_ok=True)

    touch()
    look_without_the_service(repo)
    assert marker.exists(), "so it would be"
    touch()
    with contextlib.suppress(HistoryProblem):
        await box.history.uncommitted()
    assert not marker.exists()
