"""Engine processes for tests, none of which survives its test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import launch
from engine.locations import Meeting

ROOT = Path(__file__).parents[2]
BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from engine.host import main; "
    "from tests.engine.scripted_runtime import load; main(load=load)"
)

ModelFile = Callable[..., str]


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
