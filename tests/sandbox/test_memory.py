"""The machine's memory, as the kernel's totals show it while a command runs."""

from __future__ import annotations

from pathlib import Path

from sandbox.inside.memory import Memory, totals

MIB = 1 << 20


class Machine:
    def __init__(self, shared: int, available: int) -> None:
        self.shared, self.available = shared, available

    def look(self) -> dict[str, int]:
        return {"Shmem": self.shared * MIB, "MemAvailable": self.available * MIB}


def test_only_what_came_since_counts() -> None:
    machine = Machine(500, 4000)
    memory = Memory((), machine.look)
    assert memory.shared() == 0
    machine.shared = 620
    assert memory.shared() == 120 * MIB
    machine.shared = 100
    assert memory.shared() == 0


def test_a_folder_in_memory_is_a_disk(tmp_path: Path) -> None:
    now = totals()
    memory = Memory([str(tmp_path), str(tmp_path / "missing")], lambda: now)
    assert memory.shared() == 0


def test_some_is_left_for_others() -> None:
    machine = Machine(0, 4000)
    memory = Memory((), machine.look)
    machine.available = 257
    assert memory.exceeded() == ""
    machine.available = 255
    assert memory.exceeded() == "the machine had less than 256 MiB of memory left"


def test_little_to_begin_with_is_no_fault_of_the_commands() -> None:
    machine = Machine(0, 100)
    memory = Memory((), machine.look)
    machine.available = 60
    assert memory.exceeded() == ""
    machine.available = 40
    assert memory.exceeded() == "the machine had less than 50 MiB of memory left"


def test_the_kernel_says_it() -> None:
    assert totals()["MemTotal"] > 64 * MIB
