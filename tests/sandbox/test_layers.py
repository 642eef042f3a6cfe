"""Each layer holds alone what it is there for, with the others that cover the same switched off."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError, confine, seccomp
from sandbox.box import PROBE_LIMITS
from sandbox.bubblewrap import Bubblewrap
from sandbox.launcher import Launcher
from sandbox.policy import Mount, Policy

from .conftest import Opener


async def output(box: Sandbox, bubblewrap: Bubblewrap, policy: Policy, script: str) -> str:
    argv = ["sh", "-c", script]
    done = await Launcher(bubblewrap).run(policy, argv, cwd=policy.root, limits=PROBE_LIMITS)
    return done.stdout.text()


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
    real = asyncio.create_subprocess_exec

    async def leaking(*argv, pass_fds=(), **rest):
        return await real(*argv, pass_fds=[*pass_fds, folder], **rest)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", leaking)
    await output(box, told, policy, f"echo x > /proc/self/fd/{folder}/made; true")
    os.close(folder)
    assert (outside / "made").exists() is not landlock


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
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "confine.py"
    broken.write_text("import sys\nprint('confine: no Landlock', file=sys.stderr)\nsys.exit(125)\n")
    monkeypatch.setattr("sandbox.launcher.CONFINE", broken)
    with pytest.raises(SandboxError, match="was not run"):
        await box.workspace.run(["sh", "-c", "touch ran"])
    assert not (box.workspace.root / "ran").exists()


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
