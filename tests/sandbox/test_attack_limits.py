"""Whoever uses too much of the machine is ended. Without any limit that would be the machine's end, so each
attack is first run against a limit that lies higher, in time and number never far: it gets that far, and so
nothing but the limit holds it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from sandbox import Completed, Limits, Sandbox
from sandbox.inside import usage

from .conftest import Opener, shell
from .quiet import NOISE, in_use, quiet, undisturbed

MIB = 1 << 20
FLOOD = "import sys\nfor i in range(40): sys.stdout.write('x' * 1_000_000)\nprint('THE END')"


async def test_flood_is_bounded_and_the_rest_drained(box: Sandbox) -> None:
    plainly = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", FLOOD])
    assert len(plainly) > 40_000_000
    heard: list[str] = []
    done = await box.workspace.run(["python3", "-c", FLOOD], on_output=heard.append)
    assert done.exit_code == 0
    assert done.output_cut
    assert len(done.output) < 1_100_000
    assert "bytes left out" in done.output
    assert done.output.endswith("THE END\n")
    assert sum(map(len, heard)) < 1_100_000


@pytest.mark.parametrize("seconds", [1.5, 0.5])
async def test_endless_output_ends_at_the_time_limit(box: Sandbox, seconds: float) -> None:
    done = await box.workspace.run(["sh", "-c", "while :; do echo endless; done"], seconds=seconds)
    assert done.timed_out
    assert done.exit_code is None
    assert seconds < done.seconds < seconds + 4.5


@pytest.mark.parametrize("mib", [2, 1])
async def test_file_size_is_limited(open_sandbox: Opener, mib: int) -> None:
    box = await open_sandbox(limits=Limits(file_bytes=mib * MIB))
    await shell(box, "head -c 3000000 /dev/zero > big.log")
    assert (box.workspace.root / "big.log").stat().st_size == mib * MIB


HOLDS = "import time; x = b'x' * ({mib} << 20); time.sleep(20)"


@pytest.mark.parametrize(("each", "most"), [(300, 320), (90, 320), (300, 256), (90, 256)])
async def test_memory_is_limited_together(open_sandbox: Opener, each: int, most: int) -> None:
    box = await open_sandbox(limits=Limits(memory_bytes=most * MIB))
    program = HOLDS.format(mib=each)
    script = f'for i in 1 2 3 4; do python3 -c "{program}" & done; wait; echo done'
    done = await box.workspace.run(["sh", "-c", script], seconds=20)
    assert f"[stopped, because its processes used more than {most} MiB of memory]" in done.output
    assert done.exit_code == 137 and not done.timed_out


THREADS = """
import threading, time
for _ in range(500):
    threading.Thread(target=time.sleep, args=[20]).start()
"""
BOMBS = {
    "processes": "f() { sleep 20 & f | f & }; f; sleep 20",
    "threads": f"python3 -c '{THREADS}'",
    "daemons": "i=0; while [ $i -lt 500 ]; do setsid sleep 20 & i=$((i+1)); done; sleep 20",
}


@pytest.mark.parametrize("most", [200, 100])
@pytest.mark.parametrize("bomb", BOMBS)
async def test_bombs_are_ended(open_sandbox: Opener, bomb: str, most: int) -> None:
    box = await open_sandbox(limits=Limits(processes=most))
    done = await box.workspace.run(["sh", "-c", BOMBS[bomb]], seconds=20)
    assert f"[stopped, because it had more than {most} processes and threads]" in done.output
    assert not done.timed_out
    assert (await box.workspace.run(["echo", "alive"])).output == "alive\n"


@pytest.mark.parametrize("mib", [2, 1])
async def test_a_file_over_the_limit_is_named(open_sandbox: Opener, mib: int) -> None:
    box = await open_sandbox(limits=Limits(file_bytes=mib * MIB))
    done = await box.workspace.run(["dd", "if=/dev/zero", "of=big.log", "bs=3M", "count=1"])
    assert f"[stopped, because a file grew over {mib} MiB]" in done.output


FILLERS = {
    "files": "i=0; while [ $i -lt 200 ]; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done; sleep 20",
    "deleted and open": "exec 3> f; rm f; head -c 200000000 /dev/zero >&3; sleep 20",
    "in memory": "head -c 200000000 /dev/zero > /tmp/f; sleep 20",
}


@pytest.mark.parametrize("most", [150, 100])
@pytest.mark.parametrize("filler", FILLERS)
async def test_the_disk_is_not_filled(open_sandbox: Opener, filler: str, most: int) -> None:
    box = await open_sandbox(limits=Limits(disk_bytes=most * MIB))
    done = await box.workspace.run(["sh", "-c", FILLERS[filler]], seconds=20)
    assert f"[stopped, because more than {most} MiB of the disk were gone since it began]" in done.output
    assert not done.timed_out


UNNAMED = {
    "files without a name": "fd = os.memfd_create('x')\nfor _ in range(200): os.write(fd, b'x' * (1 << 20))",
    "one open, then sent away": """
fd = os.memfd_create('x')
for _ in range(200): os.write(fd, b'x' * (1 << 20))
a, b = socket.socketpair()
socket.send_fds(a, [b'x'], [fd])
os.close(fd)""",
    "a shared mapping": "m = mmap.mmap(-1, 200 << 20)\nfor at in range(0, 200 << 20, 4096): m[at] = 1",
    "sockets": """
pairs = [socket.socketpair() for _ in range(900)]
for a, b in pairs:
    a.setblocking(False)
    try:
        while True: a.send(b'x' * 65536)
    except BlockingIOError: pass""",
    # The kernel gives no user more than 64 MiB of them, and two pages for each pipe after that.
    "pipes": """
pairs = [os.pipe() for _ in range(900)]
for r, w in pairs:
    os.set_blocking(w, False)
    try: fcntl.fcntl(w, 1031, 1 << 20)
    except OSError: pass
    try:
        while True: os.write(w, b'x' * 4096)
    except BlockingIOError: pass""",
    "empty files": """
for n in range(200): os.mkdir(f'{n}')
for n in range(150_000): os.close(os.open(f'{n % 200}/{n}', os.O_CREAT))""",
}


def program(what: str) -> str:
    return f"""import fcntl, mmap, os, socket, sys, time
os.chdir(sys.argv[1])
{UNNAMED[what]}
print("there", flush=True)
time.sleep(20)"""


async def taken_by(what: str) -> tuple[int, int]:
    """Bytes that a program takes which nothing holds: its own, and those of nobody's."""
    before = in_use()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        argv = (sys.executable, "-c", program(what), folder)
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None and await process.stdout.readline() == b"there\n"
            return usage.usage([process.pid], enough=100)[1], in_use() - before
        finally:
            process.kill()
            await process.wait()


@pytest.mark.alone
@pytest.mark.parametrize("what", UNNAMED)
async def test_no_look_at_processes_finds_it(what: str) -> None:
    """Bare: it is more than the limit of the next test has, and none of it is the process's own."""
    own, unowned = await undisturbed(partial(taken_by, what))
    assert own < 50 * MIB < unowned - NOISE


@pytest.mark.alone
@pytest.mark.parametrize("what", UNNAMED)
async def test_memory_that_is_no_processs_own_counts(open_sandbox: Opener, what: str) -> None:
    async def attempt() -> tuple[Completed, Completed]:
        async with await open_sandbox(limits=Limits(memory_bytes=50 * MIB)) as box:
            argv = [os.path.realpath(sys.executable), "-c", program(what), "/tmp"]
            done = await box.workspace.run(argv, seconds=12)
            for _ in range(3):  # others may take memory just then; what the attack left, it has every time
                await quiet()
                after = await box.workspace.run(["sh", "-c", "sleep 0.5; echo alive"])
                if after.output == "alive\n":
                    break
            return done, after

    done, after = await undisturbed(attempt)
    assert "more than 50 MiB of memory]" in done.output
    assert not done.timed_out
    assert after.output == "alive\n"


@pytest.mark.alone
@pytest.mark.parametrize("most", [150, 100])
async def test_shared_memory_counts(open_sandbox: Opener, most: int) -> None:
    async def attempt() -> Completed:
        async with await open_sandbox(limits=Limits(memory_bytes=most * MIB)) as box:
            script = "head -c 200000000 /dev/zero > /dev/shm/f; sleep 20"
            return await box.workspace.run(["sh", "-c", script], seconds=12)

    assert f"more than {most} MiB of memory]" in (await undisturbed(attempt)).output


async def test_shared_memory_is_gone_afterwards(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    name = f"ostro-test-{os.getpid()}"
    try:
        made = await box.workspace.run(["sh", "-c", f"touch /dev/shm/{name} 2>/dev/null; ls /dev/shm"])
        assert name in made.output
        assert (name in (await box.workspace.run(["ls", "/dev/shm"])).output) is works
    finally:
        Path(f"/dev/shm/{name}").unlink(missing_ok=True)
