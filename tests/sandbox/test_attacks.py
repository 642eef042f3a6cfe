"""What a hostile command tries. Each attack is also run without a sandbox, where it has to work: an attack
that cannot work anywhere proves nothing. Where the machine or its user would suffer by that, it is run in a
sandbox without the one protection and without what would hold in its place."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sandbox import Sandbox

from .breaking_out import bare_and_sandboxed
from .conftest import SECRET, Opener, command_line, processes, python, shell
from .mutants import Weaker, without_and_with

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


@without_and_with
async def test_first_process_has_no_environment(weaker: Weaker, open_sandbox: Opener, works: bool) -> None:
    """The machine's own first process has nothing of ours, so what a sandbox would show is looked at that is
    started with the environment, as `--clearenv` alone leaves it, and whose processes commands share."""
    if works:
        weaker.without_landlock()
        weaker.with_shared_processes()
        weaker.with_the_environment()
    seen = await shell(await open_sandbox(), "cat /proc/1/environ 2>/dev/null | wc -c")
    assert (seen != "0\n") is works


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


@without_and_with
async def test_mounts_cannot_be_changed(
    weaker: Weaker, open_sandbox: Opener, outside: Path, repo: Path, works: bool
) -> None:
    """The machine's own mounts are left alone: it works in a sandbox whose commands keep their capabilities,
    without a filter and Landlock, which deny every mount."""
    if works:
        weaker.with_capabilities()
        weaker.without_landlock()
        weaker.without_filter()
    script = """
mount -o remount,bind,rw "$(stat -c %m "$1")"; umount .git/config
echo changed > "$1"; echo >> .git/config"""
    config = (repo / ".git" / "config").read_bytes()
    box = await open_sandbox()
    await shell(box, script, str(outside))
    # A user without rights can lay it in hidden folders only.
    hidden = any(outside.is_relative_to(folder) for folder in box.workspace._policy.hidden)
    assert (outside.read_text() != "untouched") is (works and not hidden)
    assert ((repo / ".git" / "config").read_bytes() != config) is works


async def test_no_user_namespace_inside(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    done = await box.workspace.run(["unshare", "-Ur", "true"])
    assert (done.exit_code == 0) is works


async def test_no_capabilities(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    status = await shell(box, "cat /proc/self/status")
    held = {
        line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapBnd"))
    }
    assert (held != {"0" * 16}) is works
    assert works or "NoNewPrivs:\t1" in status


@root_only
async def test_password_hashes_are_masked(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    output = await shell(box, "cat /etc/shadow > /dev/null && echo readable")
    assert ("readable" in output) is works


async def test_no_inherited_file_descriptors(repo: Path, open_sandbox: Opener) -> None:
    """Bare means without Python's own care: as a program is started that closes nothing."""
    folder = os.open("/", os.O_RDONLY)
    os.set_inheritable(folder, True)
    lists = "import os; print(os.listdir('/proc/self/fd'))"
    try:
        argv = [sys.executable, "-c", lists]
        inherits = partial(subprocess.run, argv, close_fds=False, capture_output=True, check=True)
        bare = (await asyncio.to_thread(inherits)).stdout
        listed = await python(await open_sandbox(), lists)
    finally:
        os.close(folder)
    assert str(folder) in eval(bare)
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


@bare_and_sandboxed
async def test_hooks_cannot_be_made_where_there_are_none(
    repo: Path, open_sandbox: Opener, bare: bool
) -> None:
    shutil.rmtree(repo / ".git" / "hooks")
    box = await open_sandbox(unsafe=bare)
    await shell(box, HOOK)
    assert bool(list((repo / ".git" / "hooks").glob("*"))) is bare


@bare_and_sandboxed
async def test_linked_hooks_are_protected_too(repo: Path, open_sandbox: Opener, bare: bool) -> None:
    shutil.rmtree(repo / ".git" / "hooks")
    (repo / "tools").mkdir()
    (repo / ".git" / "hooks").symlink_to("../tools")
    box = await open_sandbox(unsafe=bare)
    await shell(box, f"rm .git/hooks; {HOOK}")
    assert (repo / ".git" / "hooks").is_symlink() is not bare


async def test_working_folder_does_not_widen(place: tuple[Sandbox, bool], outside: Path) -> None:
    box, works = place
    await box.workspace.run(["sh", "-c", f"cd / && echo changed > {outside}"])
    assert (outside.read_text() == "changed\n") is works


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
    box = await sandbox.Sandbox.open(pathlib.Path(sys.argv[1]), unsafe=sys.argv[3] == "bare")
    await box.workspace.read("README.md")
    await box.workspace.run(["sh", "-c", f"echo; setsid sleep {sys.argv[2]}"], on_output=print)
asyncio.run(main())
"""


@bare_and_sandboxed
async def test_nothing_survives_a_killed_agent(box: Sandbox, repo: Path, bare: bool) -> None:
    mark = f"98766.{os.getpid()}"
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", OPENS_AND_RUNS, str(repo), mark, "bare" if bare else "sandboxed"),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    await agent.stdout.readline()
    of_agent = [str(repo).encode() + b"\0", mark.encode()]
    agent.kill()
    await agent.wait()
    if bare:
        await asyncio.sleep(0.3)
        left = [pid for pid in processes() if mark.encode() in command_line(pid)]
        for pid in left:
            os.kill(pid, 9)
        assert left
        return
    deadline = time.monotonic() + 5
    while left := [p for p in processes() if any(m in command_line(p) + b"\0" for m in of_agent)]:
        assert time.monotonic() < deadline, [command_line(p) for p in left]
        await asyncio.sleep(0.05)


PATH_SOCKET = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.send(b"hello")
print("sent")
"""


@pytest.mark.parametrize("inside", [False, True])
@bare_and_sandboxed
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
