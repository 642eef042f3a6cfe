from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.inside.disk import Disk

MIB = 1 << 20


def status(free: int, files: int = 0, left: int = 0) -> Any:
    return SimpleNamespace(f_bavail=free * 256, f_frsize=4096, f_files=files, f_favail=left)


class Machine:
    """File systems whose free space (MiB) a test sets."""

    def __init__(self, **free: Any) -> None:
        self.now = {
            f"/{name}": status(*left) if isinstance(left, tuple) else status(left)
            for name, left in free.items()
        }

    def look(self, path: str) -> Any:
        return self.now[path]


@pytest.fixture
def separate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name right below the top is a file system; whoever reports a failure looks at real files."""
    real = os.stat

    def stat(path: str, **options: Any) -> Any:
        return SimpleNamespace(st_dev=path) if os.path.dirname(path) == "/" else real(path, **options)

    monkeypatch.setattr("sandbox.inside.disk.os.stat", stat)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where nobody else writes in the meantime."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_many_small_files_are_seen(memory: Path):
    disk = Disk([str(memory), str(memory), str(memory / "missing")])
    assert disk.exceeded(8 * MIB) == ""
    for n in range(24):
        (memory / str(n)).write_bytes(b"x" * MIB)

    assert disk.exceeded(8 * MIB) == "more than 8 MiB of the disk were gone since it began"
    assert disk.exceeded(512 * MIB) == ""


def test_a_deleted_file_that_is_still_open_counts(memory: Path):
    disk = Disk([str(memory)])
    with (memory / "gone").open("wb") as file:
        os.unlink(memory / "gone")
        file.write(b"x" * 24 * MIB)
        file.flush()
        assert disk.exceeded(8 * MIB) != ""
    assert disk.exceeded(8 * MIB) == ""


@pytest.mark.usefixtures("separate")
def test_file_systems_count_together_and_what_others_free_on_one_is_no_credit_on_another():
    machine = Machine(a=5000, b=5000, c=5000)
    disk = Disk(["/a", "/b", "/c"], machine.look)
    machine.now |= {"/a": status(4700), "/b": status(4700), "/c": status(9000)}

    assert "600 MiB" not in disk.exceeded(600 * MIB) and "599 MiB" in disk.exceeded(599 * MIB)


@pytest.mark.usefixtures("separate")
@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (5000, 255, "less than 256 MiB"),
        (5000, 257, ""),
        (100, 49, "less than 50 MiB"),
        (100, 51, ""),
        (0, 0, ""),
        ((5000, 10**6, 10**5), (5000, 10**6, 9_999), "room left for another file"),
        ((5000, 10**6, 10**5), (5000, 10**6, 10_001), ""),
        ((5000, 10**6, 100), (5000, 10**6, 49), "room left for another file"),
        ((5000, 0, 0), (5000, 0, 0), ""),
    ],
)
def test_something_is_left_for_others(before: Any, now: Any, said: str):
    machine = Machine(a=before)
    disk = Disk(["/a"], machine.look)
    machine.now |= Machine(a=now).now

    exceeded = disk.exceeded(1 << 40)
    assert said in exceeded and bool(said) is bool(exceeded)


def test_it_stands_alone():
    source = Path(__file__).parents[2].joinpath("sandbox", "inside", "disk.py").read_text()
    assert "from sandbox" not in source and "import sandbox" not in source
