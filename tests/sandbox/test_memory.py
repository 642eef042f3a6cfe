"""The machine's memory, as the kernel's totals show it while a command runs."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from sandbox.inside import usage
from sandbox.inside.memory import IN_LISTS, KNOWN, Memory, totals
from sandbox.limits import scratch_share

from .quiet import undisturbed

MIB = 1 << 20


class Machine:
    def __init__(self, shared: int, available: int) -> None:
        self.shared, self.available = shared, available

    def look(self) -> dict[str, int]:
        return {"Shmem": self.shared * MIB, "MemAvailable": self.available * MIB, "SUnreclaim": 7 * MIB}


def test_only_what_came_since_counts() -> None:
    machine = Machine(500, 4000)
    memory = Memory((), machine.look)
    assert memory.unowned() == 0
    machine.shared = 620
    assert memory.unowned() == 120 * MIB
    machine.shared = 100
    assert memory.unowned() == 0


def test_a_folder_in_memory_is_a_disk(tmp_path: Path) -> None:
    now = totals()
    memory = Memory([str(tmp_path), str(tmp_path / "missing")], lambda: now)
    assert memory.unowned() == 0


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


def test_what_has_a_name_is_somebodys() -> None:
    now = dict.fromkeys(KNOWN, 100 * MIB) | {"MemTotal": 1000 * MIB, "Shmem": 50 * MIB}
    memory = Memory((), lambda: now)
    assert memory.unowned() == 0
    # From free to a process's own, to a file's cache, to a processor's list: still nobody else's.
    for name in ("AnonPages", "Cached", "KReclaimable", IN_LISTS):
        now |= {"MemFree": now["MemFree"] - 10 * MIB, name: now[name] + 10 * MIB}
        assert memory.unowned() == 0
    now |= {"MemFree": now["MemFree"] - 10 * MIB}
    assert memory.unowned() == 10 * MIB
    now |= {"Cached": now["Cached"] + 10 * MIB, "Shmem": 60 * MIB, "MemFree": now["MemFree"] - 10 * MIB}
    assert memory.unowned() == 20 * MIB


def sent_to_sockets() -> tuple[int, int, int]:
    """Bytes that are in buffers, by how much this process grew, and by how much what is nobody's."""
    memory, (_tasks, before) = Memory(), usage.usage([os.getpid()], 1)
    pairs = [socket.socketpair() for _ in range(300)]
    sent = 0
    for sender, _receiver in pairs:
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sent < 150 * MIB:
                sent += sender.send(b"x" * 65536)
    (_tasks, after), grown = usage.usage([os.getpid()], 1), memory.unowned()
    for pair in pairs:
        for end in pair:
            end.close()
    return sent, after - before, grown


@pytest.mark.alone
async def test_buffers_of_sockets_are_no_processs_own() -> None:
    async def attempt() -> tuple[int, int, int]:
        return sent_to_sockets()

    sent, own, grown = await undisturbed(attempt)
    assert own < sent // 4
    assert grown > sent // 2


def test_folders_in_memory_do_not_hold_more_than_there_is() -> None:
    for gib in (4, 8, 16, 64):
        assert 6 * scratch_share(gib << 30) < gib << 30
    assert scratch_share(64 << 30) == 2 << 30
    assert scratch_share(1 << 30) == 256 * MIB
