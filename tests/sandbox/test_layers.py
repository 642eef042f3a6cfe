"""Each layer holds alone what it is there for, with the others that cover the same switched off."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError, seccomp
from sandbox.box import PROBE_LIMITS
from sandbox.bubblewrap import Bubblewrap
from sandbox.inside import confine
from sandbox.launcher import Launcher
from sandbox.policy import Mount, Policy

from .conftest import Opener, command_line, processes
from .mutants import without


async def output(box: Sandbox, bubblewrap: Bubblewrap, policy: Policy, script: str) -> str:
    argv = ["sh", "-c", script]
    launcher = Launcher(bubblewrap)
    try:
        return (await launcher.run(policy, argv, cwd=policy.root, limits=PROBE_LIMITS)).stdout.text()
    finally:
        await launcher.close()


@pytest.fixture
def layers(box: Sandbox) -> tuple[Bubblewrap, Policy]:
    workspace = box.workspace
    bubblewrap = box._room.launcher.bubblewrap
    assert bubblewrap is not None and bubblewrap.landlock and bubblewrap.seccomp, box.describe()
    return bubblewrap, workspace._policy


@pytest.mark.parametrize("landlock", [False, True])
async def test_landlock_stops_a_mount_that_should_not_be_writable(
    box: Sandbox,
    layers: tuple[Bubblewrap, Policy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    landlock: bool,
) -> None:
    bubblewrap, policy = layers
    outside = tmp_path / "outside"
    outside.mkdir()
    # As if the mounts had been made wrongly: the folder is writable, and Landlock was not told of it.
    there = Path("/srv")
    mistaken = policy.with_mounts(Mount(outside, there, writable=True))
    told = replace(bubblewrap, landlock=landlock)
    right = Policy.writable.fget
    assert right is not None
    monkeypatch.setattr(Policy, "writable", property(lambda own: [p for p in right(own) if p != there]))
    await output(box, told, mistaken, f"echo x > {there}/made; true")
    assert (outside / "made").exists() is not landlock


@pytest.mark.parametrize("landlock", [False, True])
async def test_landlock_stops_a_folder_left_open(
    box: Sandbox,
    layers: tuple[Bubblewrap, Policy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    landlock: bool,
) -> None:
    bubblewrap, policy = layers
    outside = tmp_path / "left-open"
    outside.mkdir()
    told = replace(bubblewrap, landlock=landlock)
    folder = os.open(outside, os.O_RDONLY)
    without(monkeypatch, tmp_path, "keeper.py", 'os.closerange(3, os.sysconf("SC_OPEN_MAX"))')
    real = asyncio.create_subprocess_exec

    async def leaking(*argv, pass_fds=(), **rest):
        return await real(*argv, pass_fds=[*pass_fds, folder], **rest)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", leaking)
    await output(box, told, policy, f"echo x > /proc/self/fd/{folder}/made; true")
    os.close(folder)
    assert (outside / "made").exists() is not landlock


@pytest.mark.parametrize("landlock", [False, True])
async def test_landlock_alone_stops_writes_to_named_pipes(
    box: Sandbox, layers: tuple[Bubblewrap, Policy], outside: Path, landlock: bool
) -> None:
    """A mount that is read-only lets them through."""
    bubblewrap, policy = layers
    if any(outside.is_relative_to(folder) for folder in policy.hidden):
        pytest.skip("this user can lay a pipe in hidden folders only")
    pipe = outside.parent / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    await output(box, replace(bubblewrap, landlock=landlock), policy, f"echo through > {pipe}; true")
    try:
        assert os.read(reader, 10) == b"through\n" and not landlock
    except BlockingIOError:
        assert landlock
    finally:
        os.close(reader)


@pytest.mark.parametrize("filtered", [False, True])
async def test_the_filter_stops_what_no_mount_does(
    box: Sandbox, layers: tuple[Bubblewrap, Policy], filtered: bool
) -> None:
    bubblewrap, policy = layers
    told = bubblewrap if filtered else replace(bubblewrap, seccomp=None)
    seen = await output(box, told, policy, "grep Seccomp: /proc/self/status; keyctl 2>&1; true")
    assert seen.split()[1] == ("2" if filtered else "0")


async def test_without_landlock_it_is_tier_b(open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.box.landlock_version", lambda: 0)
    box = await open_sandbox()
    told = box.describe()
    assert (told["tier"], told["mechanism"]) == ("B", "bubblewrap + seccomp")
    assert any("Landlock" in words for words in told["not_enforced"])
    assert (await box.workspace.run(["sh", "-c", "echo works"])).output == "works\n"


async def test_without_a_filter_it_is_tier_b(open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "program", lambda machine=None: None)
    told = (await open_sandbox()).describe()
    assert (told["tier"], told["mechanism"]) == ("B", "bubblewrap + Landlock")
    assert any("system calls" in words for words in told["not_enforced"])


async def test_a_layer_that_fails_later_is_an_error_and_not_a_run_without_it(
    box: Sandbox, layers: tuple[Bubblewrap, Policy]
) -> None:
    bubblewrap, policy = layers
    await output(box, bubblewrap, policy, "touch ran")
    (box.workspace.root / "ran").unlink()
    for broken in (b"no filter", struct.pack("<HBBI", 0xFFFF, 0, 0, 0)):
        with pytest.raises(SandboxError, match="was not run"):
            await output(box, replace(bubblewrap, seccomp=broken), policy, "touch ran")
        assert not (box.workspace.root / "ran").exists()


async def test_a_pin_that_cannot_be_made_is_an_error(box: Sandbox, repo: Path) -> None:
    await box.workspace.run(["touch", "ran"])
    (repo / "ran").unlink()
    (repo / ".git" / "config").rename(repo / "elsewhere")
    (repo / ".git" / "config").symlink_to(repo / "elsewhere")
    with pytest.raises(SandboxError, match="was not run"):
        await box.workspace.run(["touch", "ran"])
    assert not (repo / "ran").exists()


async def test_when_the_supervisor_dies_everything_goes_and_the_next_command_has_a_new_one(
    box: Sandbox,
) -> None:
    mark = f"98767.{os.getpid()}"
    command = asyncio.create_task(box.workspace.run(["sh", "-c", f"setsid sleep {mark} & sleep {mark}"]))
    await asyncio.sleep(0.3)
    assert [pid for pid in processes() if mark.encode() in command_line(pid) and not is_shell(pid)]
    standing = [task.result() for task in box._room.launcher._standing.values()]
    for supervisor in standing:
        os.killpg(supervisor._process.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="ended before the command did"):
        await command
    assert not [pid for pid in processes() if mark.encode() in command_line(pid)]
    assert (await box.workspace.run(["echo", "alive"])).output == "alive\n"


async def test_when_a_keeper_dies_its_command_goes(box: Sandbox) -> None:
    mark = f"98768.{os.getpid()}"
    other = asyncio.create_task(box.workspace.run(["sh", "-c", "sleep 1; echo other"]))
    command = asyncio.create_task(box.workspace.run(["sh", "-c", f"setsid sleep {mark} & sleep {mark}"]))
    await asyncio.sleep(0.3)
    [first] = [pid for pid in processes() if mark.encode() in command_line(pid) and is_shell(pid)]
    os.kill(parent(parent(first)), signal.SIGKILL)
    with pytest.raises(SandboxError, match="ended before the command did"):
        await command
    assert not [pid for pid in processes() if mark.encode() in command_line(pid)]
    assert (await other).output == "other\n"


def is_shell(pid: int) -> bool:
    return command_line(pid).startswith(b"sh\0")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_this_kernel_has_landlock() -> None:
    if confine.landlock_version() == 0:
        assert not os.environ.get("CI"), "no Landlock in CI"
        pytest.skip("no Landlock here")
    assert confine.landlock_version() >= confine.LEAST_VERSION


IGNORED_BY_PYTHON = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)


async def test_programs_see_the_usual_signals_and_environment(box: Sandbox) -> None:
    done = await box.workspace.run(
        ["sh", "-c", "yes | head -1; grep -E 'SigIgn' /proc/self/status; env | grep -c LC_CTYPE"]
    )
    lines = done.output.split("\n")
    assert lines[0] == "y"
    assert int(lines[1].split()[1], 16) & IGNORED_BY_PYTHON == 0
    assert lines[2] == str(int("LC_CTYPE" in os.environ)), "as the caller has it"


async def test_scripts_without_a_first_line_run(box: Sandbox) -> None:
    await box.workspace.write("tool", b"echo from a script\n")
    done = await box.workspace.run(["sh", "-c", "chmod +x tool && exit 0"])
    assert done.exit_code == 0
    assert (await box.workspace.run(["./tool"])).output == "from a script\n"
    assert (await box.workspace.run(["./src"])).exit_code == 126
    assert (await box.workspace.run(["./README.md/x"])).exit_code == 127
