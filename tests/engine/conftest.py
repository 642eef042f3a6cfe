"""Engine processes for tests, none of which survives its test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import launch
from engine.locations import Meeting, meeting

ROOT = Path(__file__).parents[2]
BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from engine.host import main; "
    "from tests.engine.scripted_runtime import load; main(load=load)"
)

ModelFile = Callable[[str], str]


@pytest.fixture
def no_host_survives() -> Iterator[None]:
    yield
    for child in launch._children:
        if child.poll() is None:
            child.kill()
            child.wait()
    launch._children.clear()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_host_survives: None) -> ModelFile:
    """Makes `Engine.open` start hosts of the scripted model; returns what makes a model file."""

    def command(model: Path, place: Meeting, keep_alive: float) -> list[str]:
        options = [str(model), str(place.socket), "--keep-alive", str(keep_alive)]
        return [sys.executable, "-I", "-c", BOOT, str(ROOT), *options]

    monkeypatch.setattr(launch, "host_command", command)

    def make(content: str = "good") -> str:
        path = tmp_path / f"{content.replace(' ', '-')}.gguf"
        path.write_text(content)
        return str(path)

    return make


def hosts_started() -> list[subprocess.Popen[bytes]]:
    return list(launch._children)


async def ended(seconds: float = 10.0) -> None:
    """Wait until every host this process started has left."""
    deadline = time.monotonic() + seconds
    while any(child.poll() is None for child in launch._children):
        assert time.monotonic() < deadline, "the engine process is still there"
        await asyncio.sleep(0.02)


def socket_of(ref: str) -> Path:
    return meeting(Path(ref)).socket


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
