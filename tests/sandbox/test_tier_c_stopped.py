"""Tier C: a command that stops the process which would end it is ended all the same."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from sandbox import Sandbox

from .conftest import Opener, command_line, processes
from .test_attacks import OPENS_AND_RUNS
from .test_tier_c import ended


@pytest.fixture
async def alone(open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    return await open_sandbox()


STOPS_ITS_PARENT = "kill -STOP $PPID; setsid sleep {mark} & sleep {mark}"
AND_AGAIN = "p=$PPID; " + "while kill -STOP $p; do :; done & " * 4


async def test_a_command_outlives_the_parent_that_it_stops() -> None:
    """Bare, with a shell in between, which could not end anything any more when it is told to."""
    mark = f"98772.{os.getpid()}"
    script = f"sh -c '{STOPS_ITS_PARENT.format(mark=mark)}'; true"
    shell_between = await asyncio.create_subprocess_exec("sh", "-c", script, start_new_session=True)
    await asyncio.sleep(0.3)
    shell_between.terminate()
    await asyncio.sleep(0.3)
    assert shell_between.returncode is None
    assert ended(mark)
    shell_between.kill()
    await shell_between.wait()


@pytest.mark.parametrize("script", [STOPS_ITS_PARENT, AND_AGAIN + STOPS_ITS_PARENT], ids=["once", "again"])
async def test_a_command_that_stops_what_would_end_it_is_ended(alone: Sandbox, script: str) -> None:
    mark = f"98773.{os.getpid()}"
    running = asyncio.ensure_future(alone.workspace.run(["sh", "-c", script.format(mark=mark)], seconds=1))
    # What is left would hold it up for ever.
    await asyncio.wait({running}, timeout=15)
    assert not ended(mark)
    assert (await running).timed_out
    assert (await alone.workspace.run(["echo", "alive"])).output == "alive\n"


async def test_it_does_not_outlive_a_killed_agent_by_that(repo: Path) -> None:
    mark = f"98774.{os.getpid()}"
    starts = OPENS_AND_RUNS.replace("echo;", "kill -STOP $PPID; echo;")
    starts = "import sandbox.box; sandbox.box.candidates = lambda *_: []\n" + starts
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", starts, str(repo), mark, "alone"),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    await agent.stdout.readline()
    agent.kill()
    await agent.wait()
    for _ in range(200):
        if not any(mark.encode() in command_line(pid) for pid in processes()):
            break
        await asyncio.sleep(0.05)
    assert not ended(mark)
