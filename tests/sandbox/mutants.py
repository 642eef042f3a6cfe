"""The programs inside the sandbox with one protection taken out, to see that something else notices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox import supervisor


def without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, line: str, instead: str = "pass"
) -> None:
    """Sandboxes that are started from here on run a copy of our programs in which `line` is another one."""
    folder = tmp_path / "mutant" / "inside"
    if not folder.exists():
        shutil.copytree(supervisor.INSIDE, folder)
    text = (folder / program).read_text()
    assert text.count(line) == 1, f"{line!r} is in {program} {text.count(line)} times"
    (folder / program).write_text(text.replace(line, instead))
    monkeypatch.setattr(supervisor, "INSIDE", folder)
