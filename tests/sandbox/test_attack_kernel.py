"""What the kernel itself offers to whoever asks: sockets, devices, clocks, tracing. No new value is set."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
from pathlib import Path

import pytest

from .breaking_out import WORKED, breaks_out, root_only
from .conftest import Opener

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of calls are x86-64's")

# Without any right.
ANYONE = {
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "io_uring": "call(425, 8, ctypes.create_string_buffer(240))",
    "userfaultfd": "call(323, 1)",  # for pages of its own alone
    "a session's keyring": "call(250, 0, -3, 1)",
    "a key": "call(248, b'user', b'ostro-test', b'x', 1, -2)",
    "a namespace of users": "call(272, 0x10000000)",
    "being traced": "assert libc.ptrace(0, 0, 0, 0) == 0",
    "reading a process's memory": """
buffer, found = ctypes.create_string_buffer(b"x" * 8), ctypes.create_string_buffer(8)
class Part(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t))
here, there = Part(ctypes.addressof(found), 8), Part(ctypes.addressof(buffer), 8)
call(310, os.getpid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)""",
}
# With root's rights, which a sandboxed root must not have.
ROOTS = {
    "packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "raw sockets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "a network's settings": """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked = struct.pack("16si12x", b"lo", 0)
fcntl.ioctl(s, 0x8922, fcntl.ioctl(s, 0x8921, asked))""",
    "routes by netlink": """
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
link = struct.pack("BxHiII", 0, 0, 1, 1, 1)  # the loopback is up already
s.sendto(struct.pack("IHHII", 16 + len(link), 16, 5, 1, 0) + link, (0, 0))
assert struct.unpack_from("i", s.recv(4096), 16)[0] == 0""",
    "typing into a terminal": """
import pty, termios
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSTI, b"x")""",
    "another root folder": "os.chroot('/')",
    "devices": "import stat; os.mknod('dev', stat.S_IFCHR | 0o600, os.makedev(1, 3)); os.unlink('dev')",
    "the clock": """
zone = ctypes.create_string_buffer(8)
call(96, None, zone)
call(164, None, zone)""",
    "the host's name": "socket.sethostname(socket.gethostname())",
    "priority": "os.nice(-1)",
    "priority of real time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "going on when memory is short": "open('/proc/self/oom_score_adj', 'w').write('-1')",
    "more open files": """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))""",
    "a new mount": "call(430, b'tmpfs', 0)",
    "a namespace for a child": "call(56, 0x20000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    "a namespace by its file": "call(308, os.open('/proc/self/ns/net', os.O_RDONLY), 0)",
    "files by their number": """
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
number = ctypes.c_int()
call(303, -100, b"README.md", handle, ctypes.byref(number), 0)
call(304, os.open(".", os.O_RDONLY), handle, 0)""",
    "programs for the kernel": "call(321, 0, struct.pack('IIII', 2, 4, 4, 1) + bytes(112), 128)",
    "counters of the processor": "call(298, struct.pack('IIQ', 1, 112, 0) + bytes(96), -1, 0, -1, 0)",
    "the kernel's log": "assert libc.klogctl(3, ctypes.create_string_buffer(4096), 4096) >= 0",
    "the kernel's log by its device": "os.open('/dev/kmsg', os.O_RDONLY | os.O_NONBLOCK)",
    "the machine's memory": "os.open('/dev/mem', os.O_RDONLY)",
    "the kernel's memory": "open('/proc/kcore', 'rb').read(4)",
    "the magic key": "os.open('/proc/sysrq-trigger', os.O_WRONLY)",
    "the kernel's settings": "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
    "devices' settings": """
places = glob.glob('/sys/kernel/mm/*/enabled') + glob.glob('/sys/block/*/queue/nr_requests')
[os.open(place, os.O_WRONLY) for place in places] or 1/0""",
    "groups of processes": """
places = glob.glob('/sys/fs/cgroup/cgroup.procs') + glob.glob('/sys/fs/cgroup/*/cgroup.procs')
places += glob.glob('/sys/fs/cgroup/*/release_agent')
[os.open(place, os.O_WRONLY) for place in places] or 1/0""",
    "swap, accounting, quota": "assert libc.acct(None) == 0",
}  # fmt: skip

RARE = ("more open files", "the machine's memory", "the kernel's memory", "the magic key")
"""What a kernel may refuse to everybody, or not have."""


@pytest.mark.parametrize("name", ANYONE)
async def test_denied_to_everybody(open_sandbox: Opener, name: str) -> None:
    assert WORKED not in await breaks_out(open_sandbox, f"{ANYONE[name]}\nprint('{WORKED}')")


@root_only
@pytest.mark.parametrize("name", ROOTS)
async def test_denied_to_root(open_sandbox: Opener, name: str) -> None:
    assert WORKED not in await breaks_out(
        open_sandbox, f"{ROOTS[name]}\nprint('{WORKED}')", rare=name in RARE
    )


@pytest.mark.parametrize("protocol", [262, 132], ids=["mptcp", "sctp"])
async def test_no_other_protocol_reaches_the_host(open_sandbox: Opener, protocol: int) -> None:
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    except OSError as problem:
        pytest.skip(f"this kernel has no such protocol: {problem.strerror}")
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        program = (
            f"s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {protocol})\ns.settimeout(3)\n"
            f"s.connect(('127.0.0.1', int(sys.argv[1])))\nprint('{WORKED}')"
        )
        assert WORKED not in await breaks_out(open_sandbox, program, str(listener.getsockname()[1]))


async def test_shared_memory_is_the_sandboxs_own(open_sandbox: Opener) -> None:
    """In both forms; what lies there on the host is out of reach, and nothing is left there."""
    libc = ctypes.CDLL(None)
    key = 0x6F730000 | os.getpid() & 0xFFFF
    name = f"ostro-test-{os.getpid()}"
    segment = libc.shmget(key, 4096, 0o1666)
    assert segment >= 0
    Path(f"/dev/shm/{name}").write_text("x")
    program = "a = libc.shmget(int(sys.argv[1]), 4096, 0) >= 0\nb = os.path.exists(sys.argv[2])\n"
    program += f"open(sys.argv[2] + '-left', 'w').close()\nprint('{WORKED}' if a or b else 'nothing')"
    left = Path(f"/dev/shm/{name}-left")
    try:
        seen = await breaks_out(
            open_sandbox, program, str(key), f"/dev/shm/{name}", ready=lambda: left.unlink(missing_ok=True)
        )
        assert WORKED not in seen and "nothing" in seen
        assert not left.exists()
    finally:
        libc.shmctl(segment, 0, None)
        Path(f"/dev/shm/{name}").unlink()
        left.unlink(missing_ok=True)


async def test_the_host_finds_no_abstract_socket_of_a_command(open_sandbox: Opener) -> None:
    """Else a command could pretend to be a service that a program of the user's looks for."""
    program = """
s = socket.socket(socket.AF_UNIX)
s.bind("\\0" + sys.argv[1])
s.listen()
os.write(1, b"listening\\n")
import time; time.sleep(3)
"""
    found = {}
    for unsafe in (True, False):
        name = f"ostro-test-{os.getpid()}-{unsafe}"
        box = await open_sandbox(unsafe=unsafe)

        def knock(_text: str, name: str = name, unsafe: bool = unsafe) -> None:
            with socket.socket(socket.AF_UNIX) as client:
                found[unsafe] = client.connect_ex("\0" + name) == 0

        argv = ["python3", "-c", "import os, socket, sys\n" + program, name]
        await box.workspace.run(argv, seconds=5, on_output=knock)
    assert found == {True: True, False: False}
