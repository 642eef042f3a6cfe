"""What the groups around a process leave it, told by trees of files as the kernel would show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from engine import machine_memory
from engine.machine_memory import NO_LIMIT, available_memory, free_in_cgroup

GB = 10**9
NAMES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def free(
    tmp_path: Path, version: int, own: str, groups: Mapping[str, tuple[int | str, int, int | None]]
) -> int:
    """What is free in the group `own`; `groups` have a limit, a usage, and pages of files within that."""
    root = tmp_path / "groups" / ("memory" if version == 1 else "")
    limit, usage, reclaimable = NAMES[version]
    for name, (most, now, files) in groups.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / usage).write_text(f"{now}\n")
        if files is not None:
            # A child's own pages, and what it wrote, are other lines of the same file.
            lines = ["inactive_file 1", "active_file 5", f"{reclaimable} {files}", "unevictable 0"]
            (folder / "memory.stat").write_text("\n".join(lines[version - 1 :]) + "\n")
    told = tmp_path / "own"
    told.write_text(f"3:cpu,cpuacct:/\n4:memory:{own}\n" if version == 1 else f"0::{own}\n")
    return free_in_cgroup(tmp_path / "groups", told)


@pytest.mark.parametrize("version", NAMES)
def test_pages_of_files_are_not_used_up(version: int, tmp_path: Path) -> None:
    """16 GB, of which a model that was just written fills 12."""
    assert free(tmp_path, version, "/", {"": (16 * GB, 14 * GB, 12 * GB)}) == 14 * GB


@pytest.mark.parametrize("version", NAMES)
def test_a_group_that_does_not_say_what_it_would_give_back(version: int, tmp_path: Path) -> None:
    assert free(tmp_path, version, "/", {"": (16 * GB, 14 * GB, None)}) == 2 * GB


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize("tight", ["", "job", "job/step", "job/step/task"])
def test_a_limit_anywhere_above_holds(version: int, tight: str, tmp_path: Path) -> None:
    groups: dict[str, tuple[int | str, int, int | None]] = dict.fromkeys(
        ("", "job", "job/step", "job/step/task", "other"), (64 * GB, 4 * GB, 0)
    )
    groups["other"] = (GB, GB, 0)
    assert free(tmp_path, version, "/job/step/task", groups | {tight: (8 * GB, 5 * GB, 0)}) == 3 * GB


def test_groups_without_a_limit(tmp_path: Path) -> None:
    assert free(tmp_path, 2, "/a/b", {"a": ("max", GB, 0), "a/b": ("max", GB, 0)}) == NO_LIMIT
    assert free_in_cgroup(tmp_path / "groups", tmp_path / "no file") == NO_LIMIT


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize("own", ["/docker/0123", "/../../elsewhere"])
def test_a_container_s_group_is_the_root_it_sees(version: int, own: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert free(tmp_path, version, own, {"": (16 * GB, 6 * GB, GB)}) == 11 * GB


def test_the_smaller_of_machine_and_group_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_memory, "free_in_cgroup", lambda: 1000)
    assert available_memory() == 1000
    monkeypatch.setattr(machine_memory, "free_in_cgroup", lambda: NO_LIMIT)
    assert 0 < available_memory() <= psutil.virtual_memory().total
