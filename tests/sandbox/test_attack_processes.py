"""Other processes, the host's, other commands' and Ostro's own: none is seen, read or touched."""

from __future__ import annotations

import asyncio
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Completed, Sandbox

from .breaking_out import WORKED, breaks_out, python, root_only
from .conftest import SECRET, Opener
from .mutants import Weaker, without_and_with

# The mark is given backwards: whoever started this program has its arguments in his own.
FIND = """
def find(mark):
    mark = mark[::-1]
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if mark.encode() in open(f"/proc/{name}/cmdline", "rb").read():
                    return int(name)
            except OSError:
                pass
    sys.exit("not found")
"""
VICTIM = """
import os, sys, time
os.chdir(sys.argv[1])
file = open("key")
secret = open("key").read() * 100
print("ready", flush=True)
time.sleep(60)
"""
READ = {
    "environment": "data = open(f'/proc/{pid}/environ').read()",
    "working folder": "data = open(f'/proc/{pid}/cwd/key').read()",
    "root folder": "data = open(f'/proc/{pid}/root' + sys.argv[2] + '/key').read()",
    "open files": """
files = [p for p in glob.glob(f"/proc/{pid}/fd/*") if "key" in os.readlink(p)]
data = "".join(open(p).read() for p in files)
""",
    "memory": """
data = ""
for line in open(f"/proc/{pid}/maps"):
    if "[heap]" in line or "rw-p 00000000 00:00 0" in line:
        start, end = (int(n, 16) for n in line.split()[0].split("-"))
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            memory.seek(start)
            data += memory.read(min(end - start, 8 << 20)).decode("latin-1")
""",
    "a file by its descriptor": "data = os.fdopen(call(438, call(434, pid, 0), 3, 0)).read()",
}  # fmt: skip
TOUCH = {
    "stop": "os.kill(pid, signal.SIGSTOP); os.kill(pid, signal.SIGCONT)",
    "signal by descriptor": "signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGCONT)",
    "trace": "assert libc.ptrace(0x4206, pid, 0, 0) == 0",
    "renice": "os.setpriority(os.PRIO_PROCESS, pid, 5)",
    "move to a processor": "os.sched_setaffinity(pid, os.sched_getaffinity(pid))",
    "limit": "import resource; resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))",
    "give up to the kernel": "open(f'/proc/{pid}/oom_score_adj', 'w').write('500')",
    "write memory": "os.open(f'/proc/{pid}/mem', os.O_WRONLY)",
    "join its namespace": "call(308, os.open(f'/proc/{pid}/ns/uts', os.O_RDONLY), 0)",
}


@pytest.fixture
def victim(home: Path) -> Iterator[tuple[str, Path]]:
    """A process of the user's with a secret in its environment, memory, open files and folder."""
    folder = home / "secret"
    folder.mkdir()
    (folder / "key").write_text(SECRET)
    mark = f"ostro-victim-{os.getpid()}"
    argv = [os.path.realpath(sys.executable), "-I", "-S", "-c", VICTIM, str(folder), mark]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={"SECRET": SECRET}) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield mark, folder
        process.kill()


@pytest.mark.parametrize("what", READ)
async def test_nothing_is_read(open_sandbox: Opener, victim: tuple[str, Path], what: str) -> None:
    mark, folder = victim
    program = f"{FIND}\npid = find(sys.argv[1])\n{READ[what]}\nprint({SECRET!r} in data and '{WORKED}')"
    assert WORKED not in await breaks_out(open_sandbox, program, mark[::-1], str(folder))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of calls are x86-64's")
@pytest.mark.parametrize("what", TOUCH)
async def test_nothing_is_touched(open_sandbox: Opener, victim: tuple[str, Path], what: str) -> None:
    program = f"{FIND}\npid = find(sys.argv[1])\n{TOUCH[what]}\nprint('{WORKED}')"
    assert WORKED not in await breaks_out(open_sandbox, program, victim[0][::-1])


async def test_no_process_has_a_way_out_in_its_folders(open_sandbox: Opener, home: Path) -> None:
    """`/proc/self/root` and its like are other names for the same view, and lead to no other."""
    program = f"""
paths = [f"/proc/{{p}}/{{w}}" for p in ("self", "1", os.getppid()) for w in ("root", "cwd/../../..")]
for path in paths:
    try:
        if {SECRET!r} in open(path + sys.argv[1]).read():
            print("{WORKED}", path)
    except OSError:
        pass
"""
    assert WORKED not in await breaks_out(open_sandbox, program, str(home / ".ssh" / "id_rsa"))


LIST = """
for name in sorted(os.listdir("/proc")):
    if name.isdigit() and int(name) != os.getpid():
        try:
            print(open(f"/proc/{name}/cmdline").read().replace("\\0", " "))
        except OSError:
            pass
"""


async def test_commands_see_neither_each_other_nor_the_file_server(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    await box.workspace.read("README.md")
    mark = f"97531.{os.getpid()}"
    started = asyncio.Event()
    argv = ["sh", "-c", f"echo started; exec sleep {mark}"]
    other = asyncio.ensure_future(box.workspace.run(argv, seconds=10, on_output=lambda _: started.set()))
    await started.wait()
    seen = await python(box, LIST)
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    assert (mark in seen) is works and ("file_server" in seen) is works, seen


KILL_ALL = """
import os, signal, sys
if os.stat("/proc/self/ns/pid").st_ino == int(sys.argv[1]):
    sys.exit("not here")
for sent in (signal.SIGSTOP, signal.SIGKILL):
    for pid in [1, -1, os.getppid(), *range(2, 40)]:
        if pid not in (os.getpid(), 0):
            try:
                os.kill(pid, sent)
            except OSError:
                pass
print("tried")
"""


@without_and_with
async def test_signals_to_everybody_end_nobody_elses(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """Bare, this would end everything the user has; so it is a sandbox whose commands share a namespace."""
    if works:
        weaker.with_shared_processes()
    box = await open_sandbox()
    await box.workspace.write("before", b"x")
    slow = asyncio.ensure_future(box.workspace.run(["sh", "-c", "sleep 1.5; echo slept"], seconds=20))
    await asyncio.sleep(0.5)
    ours = str(os.stat("/proc/self/ns/pid").st_ino)
    killing = box.workspace.run(["python3", "-c", KILL_ALL, ours], seconds=10)
    _killed, slept = await asyncio.gather(killing, slow, return_exceptions=True)
    if works:
        assert "ended before the command did" in str(slept)
    else:
        assert isinstance(slept, Completed) and slept.output == "slept\n"
    assert await box.workspace.read("before") == b"x"
    assert (await box.workspace.run(["echo", "on"])).output == "on\n"


NOT_INTERRUPTED = "signal.signal(signal.SIGINT, signal.SIG_DFL)"


@without_and_with
async def test_no_process_ends_a_command_as_if_it_had_succeeded(
    weaker: Weaker, open_sandbox: Opener, works: bool
) -> None:
    """Bare there is no process of Ostro's between that could be interrupted."""
    if works:
        weaker.without("keeper.py", NOT_INTERRUPTED)
        weaker.without(
            "keeper.py",
            "        finally:\n            os._exit(KILLED)\n    for",
            "        finally:\n            os._exit(0)\n    for",
        )
    box = await open_sandbox()
    done = await box.workspace.run(["sh", "-c", "sh -c 'kill -INT $1' sh $PPID; sleep 0.5; exit 7"])
    assert (done.exit_code == 0) is works


OPENS = "import os; os.close(os.open('made', os.O_CREAT | os.O_WRONLY, 0o4755))"
SET_USER_ID = {
    "chmod": "cp /usr/bin/id made && chmod 4755 made",
    "install": "install -m 4755 /usr/bin/id made",
    "an open file": "python3 -c \"import os; os.fchmod(os.open('made', os.O_CREAT, 0o755), 0o4755)\"",
    "made so": f'python3 -c "{OPENS}"',
    "unpacked": 'cp /usr/bin/id in; python3 -c "{tar}"; tar -xpf a.tar',
}
PACKS = """
import tarfile
with tarfile.open('a.tar', 'w') as tar:
    one = tar.gettarinfo('in', 'made'); one.mode = 0o4755
    tar.addfile(one, open('in', 'rb'))
"""


@pytest.mark.parametrize("way", SET_USER_ID)
async def test_no_program_is_left_with_its_owners_rights(place: tuple[Sandbox, bool], way: str) -> None:
    """Somebody else on this machine could start it."""
    box, bare = place
    await box.workspace.run(["sh", "-c", SET_USER_ID[way].replace("{tar}", PACKS)])
    made = box.workspace.root / "made"
    assert (made.exists() and bool(made.stat().st_mode & stat.S_ISUID)) is bare


async def test_permissions_for_groups_can_be_set(box: Sandbox) -> None:
    await box.workspace.run(["sh", "-c", "mkdir ours && chmod 2775 ours"])
    assert stat.S_IMODE((box.workspace.root / "ours").stat().st_mode) == 0o2775


async def test_ostro_brings_the_bit_back(box: Sandbox) -> None:
    """What the user had is put back as it was, by Ostro's own program alone."""
    mine = box.workspace.root / "mine"
    mine.write_text("x")
    mine.chmod(0o4755)
    tree = await box.workspace.snapshot()
    await box.workspace.run(["rm", "mine"])
    await box.workspace.restore(tree)
    assert stat.S_IMODE(mine.stat().st_mode) == 0o4755


@root_only
async def test_no_file_gets_capabilities_or_another_owner(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    await box.workspace.run(["sh", "-c", "cp /usr/bin/id me; cp me mine; chown 1 mine"])
    capable = "struct.pack('<5I', 1 << 25, 1 << 21, 0, 0, 0)"
    await python(box, f"os.setxattr('me', 'security.capability', {capable})")
    assert ((box.workspace.root / "mine").stat().st_uid == 1) is works
    assert ("security.capability" in os.listxattr(box.workspace.root / "me")) is works
