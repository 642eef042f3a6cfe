"""Landlock and the filter without namespaces: what still holds, what does not, and that it says so."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Author, Limits, Sandbox

from .conftest import SECRET, Opener, command_line, git, processes, python, shell
from .test_attack_limits import BOMBS
from .test_attacks import CONNECT, SURVIVORS


@pytest.fixture(params=["bare", "alone"])
async def place(
    request: pytest.FixtureRequest, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch
) -> tuple[Sandbox, bool]:
    """A sandbox of tier C, or none; and whether attacks are expected to work in it."""
    bare = request.param == "bare"
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    return await open_sandbox(unsafe=bare), bare


@pytest.fixture
async def alone(open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    return await open_sandbox()


async def test_it_says_what_it_is(alone: Sandbox) -> None:
    told = alone.describe()
    assert (told["tier"], told["mechanism"]) == ("C", "Landlock + seccomp")
    assert any("git" in words for words in told["not_enforced"])


ROOT = os.getuid() == 0
WRITES = ['echo x > "$1"', 'ln -s "$1" l; echo x > l', 'rm -f "$1"', 'mv "$1" "$1.y"', 'truncate -s 0 "$1"']


@pytest.mark.parametrize("script", WRITES)
async def test_files_outside_stay(place: tuple[Sandbox, bool], outside: Path, script: str) -> None:
    box, works = place
    await shell(box, script, str(outside))
    assert (not outside.exists() or outside.read_text() != "untouched") is works


async def test_home_and_environment_are_hidden(place: tuple[Sandbox, bool], home: Path) -> None:
    box, works = place
    script = (
        'cat "$1"/.ssh/id_rsa; for f in /proc/[0-9]*/environ; do tr "\\0" "\\n" < $f; done 2>/dev/null; env'
    )
    assert (SECRET in await shell(box, script, str(home))) is works


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_no_network(place: tuple[Sandbox, bool], kind: str) -> None:
    box, works = place
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        if kind == "tcp":
            sink.listen()
        output = await python(box, CONNECT, kind, str(sink.getsockname()[1]))
    assert (output == "") is works


async def test_no_sockets_of_any_kind(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    program = (
        "import socket\n"
        "for family in (1, 2, 10, 16, 40, 17):\n"
        "    try: socket.socket(family, 3 if family == 17 else 1)\n"
        "    except OSError: pass\n"
        "    else: print(family)\n"
        "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n"
    )
    output = await python(box, program)
    assert output.endswith("b'x'\n")
    assert ("\n" in output.removesuffix("b'x'\n")) is works


async def test_others_cannot_be_signalled(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    other = await asyncio.create_subprocess_exec("sleep", "30")
    await shell(box, f"kill -9 {other.pid}")
    await asyncio.sleep(0.2)
    assert (other.returncode is not None) is works
    if other.returncode is None:
        other.kill()
    await other.wait()


async def test_the_users_terminals_are_neither_read_nor_written(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    user, terminal = os.openpty()
    name = os.ttyname(terminal)
    os.set_blocking(user, False)
    try:
        os.write(user, SECRET.encode() + b"\n")
        output = await shell(box, 'head -n 1 < "$1"; printf "Allow this? [y]" > "$1"', name)
        shown = os.read(user, 1000)
    finally:
        os.close(terminal)
        os.close(user)
    assert (SECRET in output) is works
    assert (b"Allow" in shown) is works


async def test_no_terminal_can_be_had(place: tuple[Sandbox, bool]) -> None:
    """It would be a file beside the user's own ones."""
    box, works = place
    program = "import os\ntry: os.openpty()\nexcept OSError as problem: print(problem.strerror)"
    assert (await python(box, program) == "") is works


DEVICES = """
import os, sys
for path in sys.argv[1:]:
    try: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError: continue
    print(os.path.basename(path), flush=True)
open("/dev/null", "w").write("x")
open("/dev/stdout", "w").write("written")
"""


async def test_only_devices_that_are_nobodys_can_be_opened(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    # No others: the machine may act on it that one of its devices was opened.
    nobodys = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"]
    found = ["/dev/ptmx", *(entry.path for entry in os.scandir("/dev") if Path(entry).is_block_device())]
    *opened, written = (await python(box, DEVICES, *nobodys, *found)).splitlines()
    assert written == "written"
    assert opened[:5] == [path.removeprefix("/dev/") for path in nobodys]
    assert (len(opened) > 5) is works


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
PRIVATE, CREATE, REMOVE = 0, 0o1000, 0


@pytest.fixture
def segment() -> Iterator[tuple[int, int]]:
    """Shared memory of another program of the user's: its number, and where it lies in ours."""
    number = LIBC.shmget(PRIVATE, 4096, CREATE | 0o600)
    address = LIBC.shmat(number, None, 0)
    ctypes.memmove(address, SECRET.encode(), len(SECRET))
    yield number, address
    LIBC.shmctl(number, REMOVE, None)
    LIBC.shmdt(ctypes.c_void_p(address))


SHARED = """
import ctypes, sys
c = ctypes.CDLL(None)
c.shmat.restype = ctypes.c_void_p
address = c.shmat(int(sys.argv[1]), None, 0)
if address != ctypes.c_void_p(-1).value:
    print(ctypes.string_at(address, 28))
    ctypes.memmove(address, b"changed", 7)
"""


async def test_shared_memory_of_others_is_out_of_reach(
    place: tuple[Sandbox, bool], segment: tuple[int, int]
) -> None:
    box, works = place
    number, address = segment
    assert (SECRET in await python(box, SHARED, str(number))) is works
    assert (ctypes.string_at(address, 7) == b"changed") is works
    file = Path(f"/dev/shm/ostro-test-{os.getpid()}")
    file.write_text(SECRET)
    try:
        assert (SECRET in await shell(box, 'cat "$1"; echo changed > "$1"', str(file))) is works
        assert (file.read_text() == "changed\n") is works
    finally:
        file.unlink()


LEFT = """
import ctypes, sys
c, key = ctypes.CDLL(None), int(sys.argv[1])
print(c.shmget(key, 4096, 0o1600) >= 0, c.msgget(key, 0o1600) >= 0, c.semget(key, 1, 0o1600) >= 0)
name = b"/ostro-test-%d" % key
print(c.mq_open(name, 0o102, 0o600, None) >= 0)
"""


async def test_nothing_is_left_in_the_kernel(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    key = 0x05700000 + os.getpid()
    try:
        words = (await python(box, LEFT, str(key))).split()
        assert words == [str(works)] * 4
    finally:
        LIBC.shmctl(LIBC.shmget(key, 0, 0), REMOVE, None)
        LIBC.msgctl(LIBC.msgget(key, 0), REMOVE, None)
        LIBC.semctl(LIBC.semget(key, 0, 0), 0, REMOVE)
        LIBC.mq_unlink(b"/ostro-test-%d" % key)


OTHERS = """
import os, resource, sys
process = int(sys.argv[1])
for attempt in (
    lambda: resource.prlimit(process, resource.RLIMIT_NOFILE, (5, 5)),
    lambda: os.setpriority(os.PRIO_PROCESS, process, 7),
    lambda: os.sched_setaffinity(process, [min(os.sched_getaffinity(process))]),
    lambda: os.sched_setscheduler(process, os.SCHED_BATCH, os.sched_param(0)),
):
    try: attempt()
    except PermissionError: continue
    print("worked")
# Of its own it may say so.
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.nice(1)
os.sched_setaffinity(0, os.sched_getaffinity(0))
"""


async def test_what_others_may_use_stays_as_it_is(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    other = await asyncio.create_subprocess_exec("sleep", "30")
    try:
        assert (await python(box, OTHERS, str(other.pid))) == "worked\n" * (4 if works else 0)
        assert (resource.prlimit(other.pid, resource.RLIMIT_NOFILE) == (5, 5)) is works
        assert (os.getpriority(os.PRIO_PROCESS, other.pid) == 7) is works
    finally:
        other.kill()
        await other.wait()


ATTRIBUTE = "user.ostro-test"


async def test_files_outside_are_given_no_attributes(place: tuple[Sandbox, bool], outside: Path) -> None:
    box, works = place
    try:
        os.setxattr(outside, ATTRIBUTE, b"mine")
    except OSError:
        pytest.skip("this file system has no attributes")
    program = "import os, sys; os.setxattr(sys.argv[1], sys.argv[2], b'changed')"
    output = await python(box, program, str(outside), ATTRIBUTE)
    assert ("Operation not supported" in output) is not works
    assert (os.getxattr(outside, ATTRIBUTE) == b"changed") is works


def ended(mark: str) -> bool:
    """Whether any process with this mark was left; now there is none."""
    left = [pid for pid in processes() if mark.encode() in command_line(pid)]
    for pid in left:
        os.kill(pid, 9)
    return bool(left)


@pytest.mark.parametrize("script", SURVIVORS)
async def test_nothing_survives(place: tuple[Sandbox, bool], script: str) -> None:
    box, works = place
    mark = f"98769.{os.getpid()}{time.monotonic_ns() % 10**6}"
    done = await box.workspace.run(["sh", "-c", script.format(mark=mark, hang=f"sleep {mark}")], seconds=1)
    assert done.timed_out is ("{hang}" in script)
    assert ended(mark) is (works and "setsid" in script), "a bare run ends a process group"


# Not the one without an end: nothing of the kernel would stop it here if this failed.
BOUNDED = [BOMBS[name] for name in BOMBS if name != "processes"]
BOUNDED += ["i=0; while [ $i -lt 400 ]; do (sleep 20; sleep 20) & i=$((i+1)); done; wait"]


@pytest.mark.parametrize("most", [200, 100])
@pytest.mark.parametrize("script", BOUNDED)
async def test_bombs_are_ended(
    open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch, script: str, most: int
) -> None:
    """Bare they are not run: where the limit lies higher, they get as far."""
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    box = await open_sandbox(limits=Limits(processes=most))
    done = await box.workspace.run(["sh", "-c", script], seconds=20)
    # For a user without rights the kernel's own limit may be there first.
    assert f"more than {most} processes and threads]" in done.output or "Cannot fork" in done.output
    assert (await box.workspace.run(["echo", "alive"])).output == "alive\n"


KILLS_ITS_PARENT = "kill -9 $PPID; setsid sleep {mark} & sleep {mark}"


async def test_a_command_outlives_the_parent_that_it_kills() -> None:
    """Bare, but with a shell in between: its parent would be the tests' own process."""
    mark = f"98771.{os.getpid()}"
    script = f"sh -c '{KILLS_ITS_PARENT.format(mark=mark)}'; true"
    shell_between = await asyncio.create_subprocess_exec("sh", "-c", script, start_new_session=True)
    assert await shell_between.wait() == -signal.SIGKILL
    await asyncio.sleep(0.3)
    assert ended(mark)


async def test_a_command_that_kills_what_would_end_it_is_ended(alone: Sandbox) -> None:
    mark = f"98770.{os.getpid()}"
    await alone.workspace.run(["sh", "-c", KILLS_ITS_PARENT.format(mark=mark)], seconds=5)
    assert not ended(mark)


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "alone"])
async def test_capabilities_mounts_and_kernel_parameters(
    open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    """Bare, in mounts of its own, and for a user without rights in a user namespace."""
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    box = await open_sandbox(unsafe=bare)
    script = (
        'grep -E "Cap(Eff|Prm|Inh|Amb)" /proc/self/status | grep -v 0000000000000000\n'
        "mount -t tmpfs x /mnt && echo m; unshare -Ur true && echo u\n"
        "cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern && echo k"
    )
    if bare:
        script = f"unshare {'-m' if ROOT else '-Urm'} sh -c '{script}'"
    lines = (await shell(box, script)).splitlines()
    assert {"m", "k", "u"} & set(lines) == (({"m", "u"} | ({"k"} if ROOT else set())) if bare else set())
    assert any(line.startswith("Cap") for line in lines) is bare


async def test_what_git_acts_on_is_looked_at(alone: Sandbox, repo: Path) -> None:
    assert "git acts on it" not in (await alone.workspace.run(["true"])).output
    for script in ("git config core.fsmonitor evil", "echo x > .git/hooks/pre-commit"):
        done = await alone.workspace.run(["sh", "-c", script])
        assert "[changed, and git acts on it: .git; look at it before you run git]" in done.output


async def test_work_goes_on(alone: Sandbox, repo: Path) -> None:
    workspace = alone.workspace
    start = await workspace.snapshot()
    await workspace.write("new.txt", b"new\n")
    commit = "git add -A && git -c user.name=T -c user.email=t@e.org commit -qm two"
    script = f"{commit} && echo t > $TMPDIR/t && cat $TMPDIR/t"
    assert (await shell(alone, script)).endswith("t\n")
    assert git(repo, "log", "--format=%s").splitlines() == ["two", "start"]
    fork = await workspace.fork()
    await fork.write("new.txt", b"forked\n")
    assert (await fork.run(["cat", "new.txt"])).output == "forked\n"
    assert await workspace.read("new.txt") == b"new\n"
    await workspace.restore(start)
    assert not (repo / "new.txt").exists()


async def test_refs_are_told_and_a_commit_is_made(alone: Sandbox, repo: Path) -> None:
    (repo / "new.txt").write_text("new\n")
    head = await alone.history.head()
    assert await alone.history.uncommitted() == ["new.txt"]
    author = Author("A U Thor", "author@example.org", "@1700000000 +0000")
    made = await alone.history.commit(["new.txt"], "two\n", author, head)
    assert (await alone.history.refs())[head.branch or ""] == made != head.commit


COPIES = """
import shutil, subprocess, sys, tempfile
open("a", "w").close()
shutil.copy2("a", "b")
subprocess.run(["cp", "-a", "b", "c"], check=True)
subprocess.run(["mv", "c", tempfile.mkdtemp()], check=True)
subprocess.run(["tar", "-cf", "d.tar", "a"], check=True)
subprocess.run(["nice", "-n", "1", sys.executable, "-c", "print('done')"], check=True)
"""


async def test_files_are_copied_though_they_are_given_no_attributes(alone: Sandbox) -> None:
    assert await python(alone, COPIES) == "done\n"


async def test_nothing_is_left_where_it_is_not_enough(
    repo: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from sandbox import NoSandbox

    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    monkeypatch.setattr("sandbox.box.landlock_version", lambda: 5)
    with pytest.raises(NoSandbox, match="no bubblewrap"):
        await Sandbox.open(repo)
