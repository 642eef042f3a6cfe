"""The rooms of one command, and the rights it is left with: what each is there for, tried from inside, and
before that where it is missing."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
import pytest

from sandbox import Limits, Sandbox, SandboxError
from sandbox.toolchain import own_python

from .breaking_out import bare_and_sandboxed, root_only
from .conftest import Opener, command_line, processes, python, shell
from .mutants import NEW_ROOMS, Weaker, without_and_with

LISTS = """
import os
for p in filter(str.isdigit, os.listdir('/proc')):
    try: print(p, repr(open(f'/proc/{p}/cmdline').read()))
    except OSError: pass  # it has ended
"""


@pytest.fixture
def sleeper() -> Iterator[str]:
    """A process of the host, and the mark that its command line has."""
    mark = f"98764.{os.getpid()}"
    with subprocess.Popen(["sleep", mark]) as process:
        yield mark
        process.kill()


async def test_the_hosts_processes_are_not_seen(place: tuple[Sandbox, bool], sleeper: str) -> None:
    box, works = place
    assert (sleeper in await python(box, LISTS)) is works


def _wait_for(mark: str) -> None:
    while not any(mark.encode() in command_line(pid) for pid in processes()):
        time.sleep(0.02)


async def test_commands_do_not_see_each_other(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    mark = f"98763.{os.getpid()}"
    other = asyncio.create_task(box.workspace.run(["sleep", mark], seconds=2))
    await asyncio.to_thread(_wait_for, mark)
    seen = await python(box, LISTS)
    await other
    assert (mark in seen) is works
    assert works or len(seen.splitlines()) == 2, "its first process, and itself"


@without_and_with
async def test_commands_at_once_have_rooms_of_their_own(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """What one of them mounts, another would find on its way."""
    if works:
        weaker.without("namespaces.py", NEW_ROOMS, "unshare(NEW_PROCESSES | NEW_IPC)")
    box = await open_sandbox()
    mounts = "sleep 0.3; grep -c ' /proc proc ' /proc/self/mounts"
    runs = [box.workspace.run(["sh", "-c", mounts]) for _ in range(4)]
    done = await asyncio.gather(*runs, return_exceptions=True)
    said = [getattr(one, "output", one) for one in done]
    assert (str(said[0]).strip().isdigit() and said == [said[0]] * 4) is not works


# Whoever is the parent of the command's parent is outside: the first process is the command's own.
KILLS_ITS_KEEPER = """
keeper=$(cut -d' ' -f4 /proc/$PPID/stat)
if [ "$keeper" -gt 0 ]; then kill -KILL $keeper; fi
sleep 0.3; echo lived
"""


@without_and_with
async def test_a_command_cannot_kill_its_keeper(weaker: Weaker, open_sandbox: Opener, works: bool) -> None:
    """Bare, it would be the tests' own process."""
    if works:
        weaker.with_shared_processes()
    said = ended = ""
    try:
        said = await shell(await open_sandbox(), KILLS_ITS_KEEPER)
    except SandboxError as problem:
        ended = str(problem)
    assert said.endswith("lived\n") is not works
    assert ("ended before the command did" in ended) is works


PRIVATE, CREATE = 0, 0o1000


@pytest.fixture
def segment() -> Iterator[str]:
    """A piece of the host's shared memory (System V), by its number."""
    c = ctypes.CDLL(None, use_errno=True)
    number = c.shmget(PRIVATE, 4096 + os.getpid() % 1000, CREATE | 0o666)
    assert number >= 0
    yield str(number)
    c.shmctl(number, 0, None)


SEGMENTS = "cut -c11-22 /proc/sysvipc/shm"


async def test_the_hosts_shared_memory_is_not_seen(place: tuple[Sandbox, bool], segment: str) -> None:
    box, works = place
    assert (segment in (await shell(box, SEGMENTS)).split()) is works


async def test_shared_memory_of_one_command_is_not_the_nexts(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    made = "import ctypes; print(ctypes.CDLL(None).shmget(0, 4096, 0o1666))"
    number = int(await python(box, made))
    try:
        assert number >= 0
        seen = (await shell(box, SEGMENTS)).split()
    finally:
        if works:
            ctypes.CDLL(None).shmctl(number, 0, None)
    assert (str(number) in seen) is works
    assert works or seen == ["shmid"]


@without_and_with
async def test_a_command_begins_its_session_inside(weaker: Weaker, open_sandbox: Opener, works: bool) -> None:
    """A session begun outside would bring the terminal that it has there; it is number 0 in here."""
    if works:
        weaker.without_option("--new-session")
        weaker.without("keeper.py", "os.setsid()\n        if not rooms", "if not rooms")
        weaker.without("keeper.py", "os.setsid()\n        os.chdir", "os.chdir")
    said = await python(await open_sandbox(), "import os; print(os.getsid(0))")
    assert (said == "0\n") is works


def _program(process: psutil.Process) -> str:
    try:
        return os.path.realpath(process.exe())
    except psutil.NoSuchProcess:  # a command's keeper, that has just ended
        return ""


@pytest.mark.parametrize(
    "works", [pytest.param(True, marks=root_only, id="without it"), pytest.param(False, id="sandboxed")]
)
async def test_the_supervisor_has_three_capabilities(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """Of others, bubblewrap leaves some to root alone."""
    if works:
        weaker.without_option("--cap-drop", "ALL")
    box = await open_sandbox()
    await box.workspace.run(["true"])
    [standing] = [task.result() for task in box._room.launcher._standing.values()]
    inside = psutil.Process(standing._process.pid).children(recursive=True)
    supervisor = min(
        (p for p in inside if _program(p) == os.path.realpath(own_python())), key=lambda p: p.pid
    )
    status = Path(f"/proc/{supervisor.pid}/status").read_text()
    held = re.findall(r"^Cap(?:Eff|Prm|Bnd):\s*(\w+)$", status, re.M)
    of_use = sum(1 << number for number in (8, 21, 24))  # CAP_SETPCAP, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
    assert ({int(mask, 16) for mask in held} != {of_use}) is works


@without_and_with
async def test_a_started_program_has_no_capabilities(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """Bare, a user without rights has none either; those of the supervisor he would have."""
    if works:
        weaker.with_capabilities()
    status = await shell(await open_sandbox(), "cat /proc/self/status")
    held = re.findall(r"^Cap(?:Eff|Prm|Inh|Amb):\s*(\w+)$", status, re.M)
    assert (held != ["0" * 16] * 4) is works


@without_and_with
async def test_nothing_of_a_capability_can_be_used(weaker: Weaker, open_sandbox: Opener, works: bool) -> None:
    """What may be inherited gives nothing by itself."""
    if works:
        weaker.with_capabilities()
    status = await shell(await open_sandbox(), "cat /proc/self/status")
    held = re.findall(r"^Cap(?:Eff|Prm|Amb):\s*(\w+)$", status, re.M)
    assert (held != ["0" * 16] * 3) is works


async def test_user_namespaces_cannot_be_made(place: tuple[Sandbox, bool]) -> None:
    """The bare call: `unshare -r` fails already where it writes its map of users."""
    box, works = place
    made = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
    assert (await python(box, made) == "0\n") is works


async def test_root_is_nobody_inside(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    program = "import ctypes; print(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0))"  # PR_GET_SECUREBITS
    assert (int(await python(box, program)) != 0b10_1111) is works


@without_and_with
async def test_a_command_cannot_be_looked_into(weaker: Weaker, open_sandbox: Opener, works: bool) -> None:
    """The first process of the namespace is ours; what it has in memory and open is not the command's."""
    if works:
        weaker.without("confine.py", "prctl(SET_DUMPABLE, 0)")
        weaker.without_landlock()
    program = "import os\ntry: print(os.readlink('/proc/1/fd/0'))\nexcept PermissionError: print('denied')"
    assert (await python(await open_sandbox(), program) != "denied\n") is works


KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")


@root_only
@pytest.mark.parametrize("part", KERNEL)
async def test_parts_of_proc_are_read_only(place: tuple[Sandbox, bool], part: str) -> None:
    box, works = place
    if not os.path.exists(part):
        pytest.skip(f"this kernel has no {part}")
    flags = await python(box, f"import os; print(os.statvfs({part!r}).f_flag & os.ST_RDONLY)")
    assert (flags == "0\n") is works


DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


@root_only
@pytest.mark.parametrize("name", DEVICES)
async def test_devices_of_the_machine_are_taken_from_nobody(place: tuple[Sandbox, bool], name: str) -> None:
    """Their permissions are their owner's to change, by a mount that can be written; bare, none is tried."""
    box, works = place
    device = f"/dev/{name}"
    flags = await python(box, f"import os; print(os.statvfs({device!r}).f_flag & os.ST_RDONLY)")
    assert (flags == "0\n") is works
    if not works:
        mode = f"import os; os.chmod({device!r}, os.stat({device!r}).st_mode & 0o7777)"
        assert "Read-only file system" in await python(box, mode)
        assert "Permission" not in await shell(box, f": < {device}; : > {device}")


@without_and_with
async def test_ostros_own_programs_cannot_be_changed(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """Bare, it would be this very Ostro: so it is a copy, bound as it must not be."""
    if works:
        weaker.with_programs_that_can_be_written()
    box = await open_sandbox()
    await shell(box, "cd /run/ostro/inside; touch made; rm -f keeper.py; mv /run/ostro/inside /run/ostro/x")
    here = (await shell(box, "cd /run/ostro/inside; ls")).splitlines()
    assert ("made" in here) is works and ("keeper.py" in here) is not works
    assert "serve.py" in here


@without_and_with
async def test_nothing_is_laid_beside_ostros_own_programs(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """They find their modules where they lie, before those of the library."""
    if works:
        weaker.without_option("--remount-ro", "/run/ostro")
        weaker.without_landlock()
    box = await open_sandbox()
    evil = "import os; os.system('touch ' + os.environ.get('PWD', '.') + '/marker')"
    said = await shell(box, 'echo "$1" > /run/ostro/json.py; mv /run/ostro /run/x; ls /run', evil)
    assert ("Read-only" not in said) is works and said.endswith("ostro\n")
    await box.workspace._files.close()
    with suppress(SandboxError):  # what is no module of the library's does not run
        assert await box.workspace.read("README.md") == b"read me\n"
    assert (box.workspace.root / "marker").exists() is works


@without_and_with
async def test_what_holds_the_repository_is_no_other_way_to_it(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    if works:
        weaker.without("namespaces.py", "_bind(root, second)", "_bind(root, second, read_only=False)")
    box = await open_sandbox()
    await shell(
        box, "cd /run/ostro/held && echo > made; rm -f README.md; mv src x; echo >> .git/config; cd -"
    )
    kept = sorted(os.listdir(box.workspace.root)) == [".git", ".gitignore", "README.md", "src"]
    assert kept is not works


@without_and_with
async def test_files_in_memory_can_be_laid_nowhere_else(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """/dev is in memory; what could be written there would stay until the session ends. The machine's own is
    left alone."""
    if works:
        weaker.without_option("--remount-ro", "/dev")
        weaker.without_landlock()
    said = await shell(
        await open_sandbox(),
        "echo x > /dev/left; mkdir /dev/other; mkfifo /dev/pts/left; ls /dev; echo > /dev/null",
    )
    assert ("left" in said.splitlines()) is works and ("other" in said.splitlines()) is works


async def test_files_outside_cannot_be_cut_by_their_path(place: tuple[Sandbox, bool], outside: Path) -> None:
    box, works = place
    await python(box, "import os, sys; os.truncate(sys.argv[1], 0)", str(outside))
    assert (outside.read_text() == "") is works


async def test_ostros_own_folders_are_private(box: Sandbox) -> None:
    for folder in (box._room.scratch.path, box._room.scratch.path.parent, box._room.store.folder):
        assert folder.stat().st_mode & 0o777 == 0o700, folder


@bare_and_sandboxed
async def test_limits_of_the_kernel(open_sandbox: Opener, bare: bool) -> None:
    """Bare, those that a shell can set hold all the same."""
    box = await open_sandbox(limits=Limits(open_files=100, processes=50, file_bytes=1 << 20), unsafe=bare)
    program = (
        "from resource import *\n"
        "print([getrlimit(k) for k in (RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_FSIZE, RLIMIT_CORE)])"
    )
    held = eval(await python(box, program)) == [(100, 100), (500, 500), (1 << 20, 1 << 20), (0, 0)]
    assert held is not bare


@pytest.mark.parametrize("seconds", [1.3, 0.3])
async def test_output_that_nobody_waits_for_ends_with_the_time(box: Sandbox, seconds: float) -> None:
    try:
        done = await box.workspace.run(["sleep", "30"], seconds=seconds)
    except SandboxError as problem:
        pytest.fail(f"only the end of the whole sandbox ended it: {problem}")
    assert done.timed_out and seconds < done.seconds < seconds + 4.7


async def test_the_terminal_of_the_caller_is_not_the_commands(repo: Path) -> None:
    """With the agent in a terminal: a command that opens /dev/tty types into it. A plain one opens it; where
    Ostro starts it without a sandbox, it is in a session of its own as well."""
    program = (
        "import asyncio, pathlib, subprocess, sys, sandbox\n"
        "argv = ['sh', '-c', 'exec 3<>/dev/tty && echo opened']\n"
        "print('plainly', 'opened' in subprocess.run(argv, capture_output=True, text=True).stdout)\n"
        "async def main():\n"
        "    async with await sandbox.Sandbox.open(pathlib.Path(sys.argv[1])) as box:\n"
        "        print('sandboxed', 'opened' in (await box.workspace.run(argv)).output, flush=True)\n"
        "asyncio.run(main())\n"
    )
    said = await asyncio.to_thread(_in_a_terminal, [sys.executable, "-c", program, str(repo)])
    assert "plainly True" in said and "sandboxed False" in said, said


def _in_a_terminal(argv: list[str]) -> str:
    pid, terminal = os.forkpty()
    if pid == 0:
        os.chdir(Path(__file__).parents[2])
        os.execv(argv[0], argv)
    said, deadline = b"", time.monotonic() + 30
    with suppress(OSError):  # the other side is closed
        while time.monotonic() < deadline and (data := os.read(terminal, 1 << 12)):
            said += data
    os.close(terminal)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return said.decode("utf-8", "replace")


async def test_another_folder_at_the_path_of_the_repository_is_not_worked_in(
    place: tuple[Sandbox, bool], repo: Path, outside: Path
) -> None:
    """No command can put it there; whoever owns the folder around the repository can, while Ostro works."""
    box, works = place
    workspace = box.workspace
    repo.rename(repo.with_name("moved"))
    repo.symlink_to(outside.parent)
    try:
        refused = pytest.raises(SandboxError, match="was replaced meanwhile")
        with nullcontext() if works else refused:
            await workspace.run(["sh", "-c", "echo changed > canary"])
        with nullcontext() if works else refused:
            fork = await workspace.fork()
            assert (await fork.run(["ls"])).output == "canary\n"
        assert (outside.read_text() == "changed\n") is works
    finally:
        repo.unlink()
        repo.with_name("moved").rename(repo)
    assert (await workspace.run(["cat", "README.md"])).output == "read me\n"
