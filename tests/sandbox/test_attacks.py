"""What a hostile command tries. Each attack is also run without a sandbox, where it has to work:
an attack that cannot work anywhere proves nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox

from .conftest import SECRET, Opener, command_line, processes, python, shell

ROOT = os.getuid() == 0
root_only = pytest.mark.skipif(not ROOT, reason="only root could do this without a sandbox")


@pytest.mark.parametrize(
    "script",
    [
        'echo changed > "$1"',
        'ln -s "$(dirname "$1")" link && echo changed > link/canary',
        'rm -f "$1"',
        'chmod 0777 "$1"',
        'mv "$1" "$1.moved"',
        'touch -d 2001-01-01 "$1"',
    ],
)
async def test_files_outside_stay(place: tuple[Sandbox, bool], outside: Path, script: str) -> None:
    box, works = place
    before = (outside.read_text(), outside.stat().st_mode, outside.stat().st_mtime_ns)
    await shell(box, script, str(outside))
    there = outside.exists()
    after = (outside.read_text(), outside.stat().st_mode, outside.stat().st_mtime_ns) if there else None
    assert (after != before) is works


async def test_home_is_hidden(place: tuple[Sandbox, bool], home: Path) -> None:
    box, works = place
    output = await shell(box, 'cat "$1"/.ssh/id_rsa; grep -r . "$HOME" 2>&1', str(home))
    assert (SECRET in output) is works


async def test_environment_is_hidden(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    script = "env; for f in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $f; done 2>/dev/null"
    assert (SECRET in await shell(box, script)) is works


async def test_first_process_has_no_environment(box: Sandbox) -> None:
    assert await shell(box, "cat /proc/1/environ 2>/dev/null | wc -c") == "0\n"


CONNECT = """
import socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
with socket.socket(socket.AF_INET, kind) as s:
    s.settimeout(2)
    s.connect(("127.0.0.1", int(sys.argv[2])))
    s.send(b"hello")
"""


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_the_hosts_network_is_out_of_reach(place: tuple[Sandbox, bool], kind: str) -> None:
    box, works = place
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        if kind == "tcp":
            sink.listen()
        sink.settimeout(0.5)
        await python(box, CONNECT, kind, str(sink.getsockname()[1]))
        try:
            heard = sink.accept()[0].recv(5) if kind == "tcp" else sink.recv(5)
        except TimeoutError:
            heard = b""
    assert (heard == b"hello") is works


ABSTRACT = (
    "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + sys.argv[1])\ns.send(b'hello')"
)


async def test_abstract_sockets_are_out_of_reach(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    name = f"ostro-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as sink:
        sink.bind("\0" + name)
        sink.listen()
        output = await python(box, ABSTRACT, name)
    assert ("ConnectionRefusedError" not in output) is works


REWRITE = """
path = "/proc/sys/kernel/core_pattern"
value = open(path).read()
open(path, "w").write(value)
print("written")
"""


@root_only
async def test_kernel_parameters_are_read_only(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    assert ("written" in await python(box, REWRITE)) is works


async def test_mounts_cannot_be_changed(box: Sandbox, outside: Path, repo: Path) -> None:
    script = 'mount -o remount,bind,rw /; umount .git/config .git; echo changed > "$1"; echo >> .git/config'
    config = (repo / ".git" / "config").read_bytes()
    output = await shell(box, script, str(outside))
    assert outside.read_text() == "untouched"
    assert (repo / ".git" / "config").read_bytes() == config
    assert "Read-only file system" in output or "nonexistent" in output


async def test_no_user_namespace_inside(box: Sandbox) -> None:
    done = await box.workspace.run(["unshare", "-Ur", "true"])
    assert done.exit_code != 0


async def test_no_capabilities(box: Sandbox) -> None:
    status = await shell(box, "cat /proc/self/status")
    held = {
        line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapBnd"))
    }
    assert held == {"0" * 16}
    assert "NoNewPrivs:\t1" in status


@root_only
async def test_password_hashes_are_masked(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    output = await shell(box, "cat /etc/shadow > /dev/null && echo readable")
    assert ("readable" in output) is works


async def test_no_inherited_file_descriptors(repo: Path, open_sandbox: Opener) -> None:
    folder = os.open("/", os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        box = await open_sandbox()
        listed = await python(box, "import os; print(os.listdir('/proc/self/fd'))")
    finally:
        os.close(folder)
    assert set(eval(listed)) <= {"0", "1", "2", "3"}


HOOK = "mkdir -p .git/hooks; echo '#!/bin/sh' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit"


@pytest.mark.parametrize(
    "script",
    [
        HOOK,
        "git config core.fsmonitor 'touch marker'",
        f"mv .git x && mkdir .git && cp -r x/. .git && {HOOK}",
        f"rm -rf .git/hooks; {HOOK}",
        "mv .git/config .git/c; echo '[core]' > .git/config",
    ],
)
async def test_git_hooks_and_configuration_stay(place: tuple[Sandbox, bool], repo: Path, script: str) -> None:
    box, works = place
    before = _launchers(repo)
    await shell(box, script)
    assert (_launchers(repo) != before) is works


async def test_hooks_cannot_be_made_where_there_are_none(repo: Path, open_sandbox: Opener) -> None:
    shutil.rmtree(repo / ".git" / "hooks")
    box = await open_sandbox()
    await shell(box, HOOK)
    assert not list((repo / ".git" / "hooks").glob("*"))


async def test_linked_hooks_are_protected_too(repo: Path, open_sandbox: Opener) -> None:
    shutil.rmtree(repo / ".git" / "hooks")
    (repo / "tools").mkdir()
    (repo / ".git" / "hooks").symlink_to("../tools")
    box = await open_sandbox()
    await shell(box, f"rm .git/hooks; {HOOK}")
    assert (repo / ".git" / "hooks").is_symlink()


async def test_working_folder_does_not_widen(box: Sandbox, outside: Path) -> None:
    await box.workspace.run(["sh", "-c", f"cd / && echo changed > {outside}"])
    assert outside.read_text() == "untouched"


SURVIVORS = [
    "setsid sleep {mark} >/dev/null 2>&1 < /dev/null & sleep 0.2",
    "setsid sh -c 'setsid sleep {mark} & sleep {mark}' & sleep 0.2",
    "nohup sleep {mark} & sleep 0.2; {hang}",
    "setsid sleep {mark} & {hang}",
]


@pytest.mark.parametrize("script", SURVIVORS)
async def test_nothing_survives(place: tuple[Sandbox, bool], script: str, tmp_path: Path) -> None:
    box, works = place
    mark = f"98765.{os.getpid()}{time.monotonic_ns() % 10**6}"
    done = await box.workspace.run(["sh", "-c", script.format(mark=mark, hang=f"sleep {mark}")], seconds=1)
    assert done.timed_out is ("{hang}" in script)
    left = [pid for pid in processes() if mark.encode() in command_line(pid)]
    for pid in left:
        os.kill(pid, 9)
    # A process group is all that a bare run has: whoever leaves the group stays.
    assert bool(left) is (works and "setsid" in script)


OPENS_AND_RUNS = """
import asyncio, pathlib, sys, sandbox
async def main():
    box = await sandbox.Sandbox.open(pathlib.Path(sys.argv[1]))
    await box.workspace.read("README.md")
    await box.workspace.run(["sh", "-c", f"echo; setsid sleep {sys.argv[2]}"], on_output=print)
asyncio.run(main())
"""


async def test_nothing_survives_a_killed_agent(box: Sandbox, repo: Path) -> None:
    mark = f"98766.{os.getpid()}"
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", OPENS_AND_RUNS, str(repo), mark),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    await agent.stdout.readline()
    of_agent = [str(repo).encode() + b"\0", mark.encode()]
    agent.kill()
    await agent.wait()
    deadline = time.monotonic() + 5
    while left := [p for p in processes() if any(m in command_line(p) + b"\0" for m in of_agent)]:
        assert time.monotonic() < deadline, [command_line(p) for p in left]
        await asyncio.sleep(0.05)


async def test_flood_is_bounded_and_the_rest_drained(box: Sandbox) -> None:
    heard: list[str] = []
    program = "import sys\nfor i in range(40): sys.stdout.write('x' * 1_000_000)\nprint('THE END')"
    done = await box.workspace.run(["python3", "-c", program], on_output=heard.append)
    assert done.exit_code == 0
    assert done.output_cut
    assert len(done.output) < 1_100_000
    assert "bytes left out" in done.output
    assert done.output.endswith("THE END\n")
    assert sum(map(len, heard)) < 1_100_000


async def test_endless_output_ends_at_the_time_limit(box: Sandbox) -> None:
    done = await box.workspace.run(["sh", "-c", "while :; do echo endless; done"], seconds=0.5)
    assert done.timed_out
    assert done.exit_code is None
    assert done.seconds < 5


async def test_file_size_is_limited(open_sandbox: Opener) -> None:
    box = await open_sandbox(limits=Limits(file_bytes=1 << 20))
    await shell(box, "head -c 3000000 /dev/zero > big.log")
    assert (box.workspace.root / "big.log").stat().st_size == 1 << 20


HOLDS = "import time; x = b'x' * ({mib} << 20); time.sleep(20)"


@pytest.mark.parametrize("each", [300, 90])
async def test_memory_is_limited_together(open_sandbox: Opener, each: int) -> None:
    box = await open_sandbox(limits=Limits(memory_bytes=256 << 20))
    program = HOLDS.format(mib=each)
    script = f'for i in 1 2 3 4; do python3 -c "{program}" & done; wait; echo done'
    done = await box.workspace.run(["sh", "-c", script], seconds=20)
    assert "[stopped, because its processes used more than 256 MiB of memory]" in done.output
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


@pytest.mark.parametrize("bomb", BOMBS)
async def test_bombs_are_ended(open_sandbox: Opener, bomb: str) -> None:
    box = await open_sandbox(limits=Limits(processes=100))
    done = await box.workspace.run(["sh", "-c", BOMBS[bomb]], seconds=20)
    assert "[stopped, because it had more than 100 processes and threads]" in done.output
    assert not done.timed_out
    assert (await box.workspace.run(["echo", "alive"])).output == "alive\n"


async def test_a_file_over_the_limit_is_named(open_sandbox: Opener) -> None:
    box = await open_sandbox(limits=Limits(file_bytes=1 << 20))
    done = await box.workspace.run(["dd", "if=/dev/zero", "of=big.log", "bs=3M", "count=1"])
    assert "[stopped, because a file grew over 1 MiB]" in done.output


FILLERS = {
    "files": "i=0; while [ $i -lt 200 ]; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done; sleep 20",
    "deleted and open": "exec 3> f; rm f; head -c 200000000 /dev/zero >&3; sleep 20",
    "in memory": "head -c 200000000 /dev/zero > /tmp/f; sleep 20",
}


@pytest.mark.parametrize("filler", FILLERS)
async def test_the_disk_is_not_filled(open_sandbox: Opener, filler: str) -> None:
    box = await open_sandbox(limits=Limits(disk_bytes=100 << 20))
    done = await box.workspace.run(["sh", "-c", FILLERS[filler]], seconds=20)
    assert "[stopped, because more than 100 MiB of the disk were gone since it began]" in done.output
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
for n in range(200): os.mkdir(f'/tmp/{n}')
for n in range(150_000): os.close(os.open(f'/tmp/{n % 200}/{n}', os.O_CREAT))""",
}


@pytest.mark.parametrize("what", UNNAMED)
async def test_memory_that_is_no_processs_own_counts(open_sandbox: Opener, what: str) -> None:
    box = await open_sandbox(limits=Limits(memory_bytes=50 << 20))
    program = f"import fcntl, mmap, os, socket, time\n{UNNAMED[what]}\ntime.sleep(20)"
    done = await box.workspace.run([os.path.realpath(sys.executable), "-c", program], seconds=20)
    assert "more than 50 MiB of memory]" in done.output
    assert not done.timed_out
    assert (await box.workspace.run(["sh", "-c", "sleep 0.5; echo alive"])).output == "alive\n"


async def test_files_in_memory_can_be_laid_nowhere_else(box: Sandbox) -> None:
    """/dev is in memory; what could be written there would stay until the session ends."""
    said = await shell(
        box, "echo x > /dev/left; mkdir /dev/left; mkfifo /dev/pts/left; ls /dev; echo > /dev/null"
    )
    assert "left" not in said.splitlines()


async def test_shared_memory_counts_and_is_gone_afterwards(open_sandbox: Opener) -> None:
    box = await open_sandbox(limits=Limits(memory_bytes=100 << 20))
    done = await box.workspace.run(["sh", "-c", "head -c 200000000 /dev/zero > /dev/shm/f; sleep 20"])
    assert "more than 100 MiB of memory]" in done.output
    await box.workspace.run(["touch", "/dev/shm/left"])
    assert (await box.workspace.run(["ls", "/dev/shm"])).output == ""


PATH_SOCKET = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.send(b"hello")
print("sent")
"""


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_the_hosts_unix_sockets_lead_nowhere(
    repo: Path, outside: Path, open_sandbox: Opener, inside: bool, bare: bool
) -> None:
    path = (repo if inside else outside.parent) / "s.sock"
    with socket.socket(socket.AF_UNIX) as sink:
        sink.bind(str(path))
        sink.listen()
        box = await open_sandbox(unsafe=bare)
        output = await python(box, PATH_SOCKET, str(path))
    assert ("sent" in output) is bare


def _launchers(repo: Path) -> dict[str, bytes]:
    git = repo / ".git"
    return {
        str(p): p.read_bytes() for p in [git / "config", *sorted((git / "hooks").glob("*"))] if p.is_file()
    }
