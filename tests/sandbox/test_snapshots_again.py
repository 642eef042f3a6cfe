"""Where the sandbox dies while a checkpoint is made, it is asked for once more, in one that is built anew."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sandbox import Sandbox, SandboxError
from sandbox.supervisor import Command, Supervisor

T = TypeVar("T")


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Kills the next sandboxes, so many, as soon as each has a command; the processes of all that had one."""
    real, left, used = Supervisor.command, [0], []

    def command(own: Supervisor, *words: Any) -> Command:
        started = real(own, *words)
        used.append(own._process.pid)
        if left[0]:
            left[0] -= 1
            os.killpg(own._process.pid, signal.SIGKILL)
        return started

    def kill(times: int) -> list[int]:
        left[0] = times
        used.clear()
        return used

    monkeypatch.setattr(Supervisor, "command", command)
    return kill


async def told(asked: Awaitable[T]) -> T | str:
    """What came of it, be it the sentence about what went wrong."""
    try:
        return await asked
    except SandboxError as problem:
        return str(problem)


async def test_a_checkpoint_is_made_all_the_same(
    repo: Path, box: Sandbox, dies: Callable[[int], list[int]]
) -> None:
    before = await box.workspace.snapshot()
    (repo / "README.md").write_text("more\n")
    used = dies(1)
    after = await told(box.workspace.snapshot())
    assert len(after) == 40 and len(used) == len(set(used)) == 2, after
    dies(1)
    assert await told(box.workspace.changed(before, after)) == ["README.md"]
    dies(1)
    assert "+more" in await told(box.workspace.diff(before, after))
    dies(1)
    assert "ended" not in str(await told(box.workspace.listing()))


async def test_it_is_asked_for_once_more_and_not_again(
    box: Sandbox, dies: Callable[[int], list[int]]
) -> None:
    await box.workspace.snapshot()
    used = dies(2)
    with pytest.raises(SandboxError, match="ended before the command did"):
        await box.workspace.snapshot()
    assert len(used) == 2
    assert await box.workspace.snapshot()


async def test_nothing_is_restored_twice(repo: Path, box: Sandbox, dies: Callable[[int], list[int]]) -> None:
    """What the first one had written already would be taken for the user's."""
    before = await box.workspace.snapshot()
    (repo / "README.md").write_text("more\n")
    used = dies(1)
    with pytest.raises(SandboxError, match="ended before the command did"):
        await box.workspace.restore(before)
    assert len(used) == 1
