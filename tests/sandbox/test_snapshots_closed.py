"""Files and folders that are closed to their owner: recorded, compared and put back all the same."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.chaos import Picture, picture

from .conftest import shell


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def opened_up(root: Path) -> Picture:
    """How a tree looks once everything in it can be read."""
    subprocess.run(["chmod", "-R", "u+rwX", root], check=True)
    return picture(root)


@pytest.fixture
def full(repo: Path) -> Path:
    (repo / "box" / "inner").mkdir(parents=True)
    (repo / "box" / "inner" / "file").write_text("in it\n")
    (repo / "box" / "other").write_text("too\n")
    return repo


async def test_a_closed_file_is_not_a_deleted_one(full: Path, box: Sandbox) -> None:
    a = await box.workspace.snapshot()
    await shell(box, "chmod 000 README.md; echo more >> src/calc.py; chmod 000 src/calc.py")
    b = await box.workspace.snapshot()
    assert box.workspace.notes() == []
    assert await box.workspace.changed(a, b) == ["src/calc.py"]
    assert "+more" in await box.workspace.diff(a, b)
    assert mode(full / "README.md") == mode(full / "src" / "calc.py") == 0
    assert await box.workspace.snapshot() == b
    await box.workspace.restore(a)
    assert (full / "README.md").read_text() == "read me\n" and mode(full / "README.md") == 0o644
    assert "more" not in (full / "src" / "calc.py").read_text()
    await box.workspace.restore(b)
    assert mode(full / "README.md") == mode(full / "src" / "calc.py") == 0


@pytest.mark.parametrize("bits", [0o000, 0o300, 0o400, 0o600, 0o100])
async def test_a_closed_folder_is_not_a_deleted_one(full: Path, box: Sandbox, bits: int) -> None:
    before = picture(full)
    a = await box.workspace.snapshot()
    await shell(box, f"chmod {bits:o} box/inner box")
    b = await box.workspace.snapshot()
    assert await box.workspace.changed(a, b) == []
    assert set(await box.workspace.changed(a, b, exact=True)) == {"box", "box/inner"}
    assert mode(full / "box") == bits
    await box.workspace.restore(a)
    assert picture(full) == before
    await box.workspace.restore(b)
    assert mode(full / "box") == bits
    assert await box.workspace.snapshot() == b
    assert {k: v[-1] for k, v in opened_up(full).items()} == {k: v[-1] for k, v in before.items()}


async def test_what_changed_in_a_closed_folder_comes_back(full: Path, box: Sandbox) -> None:
    before = picture(full)
    a = await box.workspace.snapshot()
    await shell(
        box,
        "cd box; rm inner/file; echo x > inner/new; echo y > other; mkdir made; echo z > made/z; chmod 0 made"
        " made/z inner; cd ..; chmod 0 box; mkdir gone; echo g > gone/g; chmod 0 gone/g gone",
    )
    b = await box.workspace.snapshot()
    changed = ["box/inner/file", "box/inner/new", "box/made/z", "box/other", "gone/g"]
    assert await box.workspace.changed(a, b) == changed
    await box.workspace.restore(a)
    assert picture(full) == before
    await box.workspace.restore(b)
    assert mode(full / "box") == mode(full / "gone") == 0
    assert (full / "box").stat().st_uid == os.getuid()
    assert await box.workspace.snapshot() == b


async def test_a_closed_folder_in_the_place_of_a_file(full: Path, box: Sandbox) -> None:
    before = picture(full)
    a = await box.workspace.snapshot()
    await shell(box, "rm README.md; mkdir README.md; echo x > README.md/x; chmod 0 README.md/x README.md")
    b = await box.workspace.snapshot()
    await box.workspace.restore(a)
    assert picture(full) == before
    await box.workspace.restore(b)
    assert mode(full / "README.md") == 0


async def test_a_closed_folder_that_is_ignored_has_lost_nothing(full: Path, box: Sandbox) -> None:
    (full / "build").mkdir()
    (full / "build" / "made").write_text("x")
    await box.workspace.snapshot()
    for bits in ("000", "600", "755"):
        await shell(box, f"chmod {bits} build")
        await box.workspace.snapshot()
        assert box.workspace.notes() == []
