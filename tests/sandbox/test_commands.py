"""Ordinary use: the user's own programs, tests that run, forks, explanations, mistakes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from sandbox import Limits, NoSandbox, NotARepository, Sandbox, SandboxError
from sandbox import bubblewrap as bubblewrap_module
from sandbox.policy import Mount
from sandbox.toolchain import own_python

from .conftest import Opener, git, make_venv

SANDBOX = Path(bubblewrap_module.__file__).parent


async def test_output_and_exit_code(box: Sandbox) -> None:
    done = await box.workspace.run(["sh", "-c", "echo out; echo err >&2; cat; exit 3"], stdin=b"in\n")
    assert (done.exit_code, done.output, done.timed_out, done.output_cut) == (
        3,
        "out\nerr\nin\n",
        False,
        False,
    )


async def test_output_comes_while_it_runs(box: Sandbox) -> None:
    began = time.monotonic()
    heard: list[tuple[str, float]] = []

    def listen(text: str) -> None:
        heard.append((text, time.monotonic() - began))

    await box.workspace.run(
        ["sh", "-c", "printf 'gr\\303'; sleep 0.6; printf '\\266\\303\\237e'"], on_output=listen
    )
    assert "".join(text for text, _ in heard) == "größe"
    assert heard[-1][1] - heard[0][1] > 0.3


async def test_environment_and_folder(box: Sandbox, repo: Path, home: Path) -> None:
    done = await box.workspace.run(
        ["sh", "-c", "echo $X $HOME; pwd; ls -A $HOME"], cwd="src", env={"X": "y z"}
    )
    assert done.output == f"y z {home}\n{repo}/src\n"


async def test_killed_by_a_signal(box: Sandbox) -> None:
    assert (await box.workspace.run(["sh", "-c", "kill -9 $$"])).exit_code == 137


async def test_several_at_once(box: Sandbox) -> None:
    runs = (box.workspace.run(["sh", "-c", f"sleep 0.2; echo {n}"]) for n in range(6))
    assert [done.output for done in await asyncio.gather(*runs)] == [f"{n}\n" for n in range(6)]


async def test_no_file_descriptor_is_left_open(box: Sandbox) -> None:
    async def one(n: int) -> None:
        await box.workspace.run(["sleep", "0.01"], stdin=b"x", seconds=0.001 if n % 2 else 5)

    await one(0)
    before = len(os.listdir("/proc/self/fd"))
    await asyncio.gather(*(one(n) for n in range(20)))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_cancelling_kills(box: Sandbox, repo: Path) -> None:
    task = asyncio.create_task(box.workspace.run(["sh", "-c", "sleep 1; touch late"]))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(1.2)
    assert not (repo / "late").exists()


async def test_close_kills_what_runs(open_sandbox: Opener, repo: Path) -> None:
    box = await open_sandbox()
    task = asyncio.create_task(box.workspace.run(["sh", "-c", "sleep 1; touch late"]))
    await asyncio.sleep(0.3)
    await box.close()
    assert (await task).exit_code == 137
    with pytest.raises(SandboxError, match="closed"):
        await box.workspace.run(["true"])


async def test_scratch_folders_vanish(open_sandbox: Opener, home: Path) -> None:
    left = home / ".cache" / "ostro" / "scratch"
    box = await open_sandbox()
    fork = await box.workspace.fork()
    # A program that takes away its own permissions must not keep the folder from being deleted.
    await fork.run(["sh", "-c", "mkdir -p a/b; touch a/b/c; chmod 0 a/b a"])
    assert list(left.iterdir())
    await box.close()
    assert not list(left.iterdir())


async def test_scratch_of_a_killed_process_is_swept(open_sandbox: Opener, home: Path, repo: Path) -> None:
    program = (
        "import asyncio, os, pathlib, sys, sandbox\n"
        "async def main():\n"
        "    box = await sandbox.Sandbox.open(pathlib.Path(sys.argv[1]))\n"
        "    await box.workspace.fork()\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    top = Path(__file__).parents[2]
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(repo), cwd=top)
    assert await other.wait() == -9
    left = home / ".cache" / "ostro" / "scratch"
    killed = set(left.iterdir())
    await open_sandbox()
    assert killed.isdisjoint(left.iterdir())


async def test_pytest_runs_inside(
    box: Sandbox, repo: Path, monkeypatch: pytest.MonkeyPatch, open_sandbox
) -> None:
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([folder, os.environ["PATH"]]))
    box = await open_sandbox()
    (repo / "test_calc.py").write_text(
        "import multiprocessing, pathlib, socket, sys, tempfile\n"
        "sys.path.insert(0, 'src')\n"
        "import calc\n"
        "def test_add(): assert calc.add(1, 2) == 3\n"
        "def test_folder(tmp_path): (tmp_path / 'x').write_text('x')\n"
        "def test_home(): (pathlib.Path.home() / 'x').write_text('x')\n"
        "def test_pool():\n"
        "    with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]\n"
        "def test_loopback():\n"
        "    with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "        socket.create_connection(server.getsockname()).close()\n"
    )
    done = await box.workspace.run(["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"], seconds=60)
    assert "5 passed" in done.output, done.output
    assert done.exit_code == 0


async def test_programs_below_a_private_home(home: Path, repo: Path, open_sandbox, monkeypatch) -> None:
    """A version manager's folder, pipx-like links, a virtual environment: all below a home of mode 0700."""
    manager = home / ".manager"
    for folder in ("shims", "versions/1.0/bin", "versions/1.0/lib"):
        (manager / folder).mkdir(parents=True)
    _program(manager / "versions/1.0/bin/greet", 'echo hello from "$(cat "$(dirname "$0")/../lib/who")"')
    (manager / "versions/1.0/lib/who").write_text("manager")
    _program(manager / "shims/greet", f'exec {manager}/versions/1.0/bin/greet "$@"')
    local = home / ".local" / "bin"
    local.mkdir(parents=True)
    tool = home / ".local" / "share" / "pipx" / "venvs" / "tool"
    (tool / "bin").mkdir(parents=True)
    (tool / "pyvenv.cfg").write_text("")
    _program(tool / "bin/tool", f"cat {tool}/data")
    (tool / "data").write_text("tool's data\n")
    (local / "tool").symlink_to(tool / "bin" / "tool")
    (home / ".local" / "share" / "keyring").write_text("private")
    venv = home / "envs" / "project"
    make_venv(venv)
    path = [str(venv / "bin"), str(manager / "shims"), str(local), "relative", os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("VIRTUAL_ENV", str(venv))
    box = await open_sandbox()
    assert (await box.workspace.run(["greet"])).output == "hello from manager\n"
    assert (await box.workspace.run(["tool"])).output == "tool's data\n"
    done = await box.workspace.run(["python", "-c", "import sys, json; print(sys.prefix)"])
    assert done.output == f"{venv}\n"
    shown = await box.workspace.run(
        ["sh", "-c", f"ls -A {home} {home}/.local/share {home}/envs; touch {venv}/x"]
    )
    assert "keyring" not in shown.output
    assert ".ssh" not in shown.output
    assert "Read-only file system" in shown.output


async def test_path_entries_in_the_workspace(repo: Path, open_sandbox: Opener, monkeypatch) -> None:
    """Kept where git tracks them or a virtual environment owns them, else anyone could plant a `git`."""
    for folder in ("tracked", "planted"):
        (repo / folder).mkdir()
        _program(repo / folder / f"{folder}-program", "echo ran")
    git(repo, "add", "tracked")
    make_venv(repo / ".venv")
    entries = [repo / "tracked", repo / "planted", repo / ".venv" / "bin"]
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, entries), os.environ["PATH"]]))
    bare = await (await open_sandbox(unsafe=True)).workspace.run(["planted-program"])
    assert bare.output == "ran\n"
    box = await open_sandbox()
    path = (await box.workspace.run(["sh", "-c", "echo $PATH"])).output.split(":")
    assert path[:2] == [str(repo / "tracked"), str(repo / ".venv" / "bin")]
    assert str(repo / "planted") not in path
    done = await box.workspace.run(["python", "-c", "import sys; print(sys.prefix)"])
    assert done.output == f"{repo}/.venv\n"
    assert (await box.workspace.run(["planted-program"])).exit_code == 127


async def test_workspace_venv_without_path(repo: Path, open_sandbox: Opener, home: Path) -> None:
    make_venv(repo / ".venv")
    box = await open_sandbox()
    done = await box.workspace.run([".venv/bin/python", "-c", "import json; print('ran')"])
    assert done.output == "ran\n"


async def test_a_hostile_venv_shows_nothing(repo: Path, open_sandbox: Opener, home: Path) -> None:
    for name, target in (("a", home / ".ssh" / "id_rsa"), ("b", home / ".ssh"), ("c", home)):
        (repo / name / "bin").mkdir(parents=True)
        (repo / name / "pyvenv.cfg").write_text(f"home = {home}/.ssh\n")
        (repo / name / "bin" / "python").symlink_to(target)
    script = ["sh", "-c", f"ls -A {home}; cat {home}/.ssh/id_rsa a/bin/python"]
    bare = await (await open_sandbox(unsafe=True)).workspace.run(script)
    assert bare.output.count("correct-horse") == 2 and ".ssh" in bare.output.splitlines()
    box = await open_sandbox()
    shown = await box.workspace.run(script)
    assert "correct-horse" not in shown.output
    assert ".ssh" not in shown.output.splitlines()


async def test_what_is_lent_can_be_read_inside(box: Sandbox, open_sandbox: Opener) -> None:
    for place in (box.workspace, (await open_sandbox(unsafe=True)).workspace):
        for content in (b"ours", b"changed"):
            plugin = place.lend("some/plugin.py", content)
            assert (await place.run(["cat", str(plugin)])).output == content.decode()
    plugin = box.workspace.lend("plugin.py", b"ours")
    await box.workspace.run(["sh", "-c", f"echo x >> {plugin}"])
    assert (await box.workspace.run(["cat", str(plugin)])).output == "ours"


@pytest.mark.parametrize("cwd", ["..", "/etc", "src/../..", "none"])
async def test_folders_to_start_in(box: Sandbox, cwd: str) -> None:
    with pytest.raises(SandboxError):
        await box.workspace.run(["true"], cwd=cwd)
    bare = [[], [""], ["true", "a\0b"]]
    for argv in bare:
        with pytest.raises(SandboxError):
            await box.workspace.run(argv)


async def test_subfolder_means_the_whole_repository(open_sandbox: Opener, repo: Path) -> None:
    assert (await open_sandbox(repo / "src")).workspace.root == repo


@pytest.mark.parametrize("place", ["/", "/no/such/folder", "/usr"])
async def test_odd_home_folders(
    open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place
) -> None:
    monkeypatch.setenv("HOME", place)
    for name in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet", "elsewhere")
    if place == "/":
        # Every repository lies below such a home; it is not one that holds it.
        assert (await open_sandbox(tmp_path / "elsewhere")).workspace.root == tmp_path / "elsewhere"
    box = await open_sandbox(tmp_path / "elsewhere")
    done = await box.workspace.run(["sh", "-c", "touch $HOME/x && echo $HOME"])
    assert done.output == "/home/ostro\n"


async def test_description(box: Sandbox, open_sandbox: Opener) -> None:
    told = box.describe()
    assert (told["mechanism"], told["tier"]) == ("bubblewrap + Landlock + seccomp", "A")
    assert told["enforced"] and told["not_enforced"]
    bare = (await open_sandbox(unsafe=True)).describe()
    assert bare["mechanism"] == "none"
    assert any("network" in line for line in bare["not_enforced"])


async def test_not_a_repository(tmp_path: Path, home: Path, repo: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    bare = tmp_path / "bare"
    git(tmp_path, "init", "--quiet", "--bare", str(bare))
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".git").symlink_to(repo / ".git")
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / ".git").write_text(f"gitdir: {home / '.ssh'}\n")
    git(home, "init", "--quiet")
    (home / "sub").mkdir()
    for place in (plain, bare, linked, forged, home, home / "sub", tmp_path / "none"):
        with pytest.raises(NotARepository) as problem:
            await Sandbox.open(place)
        assert "\n" not in str(problem.value)
        assert str(problem.value).endswith(".")


async def test_no_bubblewrap(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    monkeypatch.setattr("sandbox.box.landlock_version", lambda: 0)
    with pytest.raises(NoSandbox, match="--unsafe-no-sandbox"):
        await Sandbox.open(repo)


async def test_bubblewrap_that_cannot_start_or_does_not_hold(repo: Path, tmp_path: Path, monkeypatch) -> None:
    failing, open_door, leaky = tmp_path / "failing", tmp_path / "open", tmp_path / "leaky"
    _program(failing, "echo bwrap: No permissions to create new namespace >&2; exit 1")
    # Runs the supervisor without any protection.
    _program(open_door, f'exec {own_python()} {tmp_path}/open.py "$@"')
    (tmp_path / "open.py").write_text(
        "import os, sys\n"
        "command = sys.argv[sys.argv.index('--') + 1:]\n"
        f"command = [word.replace('/run/ostro', {str(SANDBOX)!r}) for word in command]\n"
        "os.execv(command[0], command)\n"
    )
    # Makes a sandbox with a hole in it.
    _program(leaky, f'exec {own_python()} {tmp_path}/leaky.py "$@"')
    (tmp_path / "leaky.py").write_text(
        "import os, sys\n"
        "options = int(sys.argv[2])\n"
        "text = os.read(options, 1 << 20).replace(b'--ro-bind\\0/\\0/\\0', b'--bind\\0/\\0/\\0')\n"
        "os.ftruncate(options, 0); os.pwrite(options, text, 0); os.lseek(options, 0, 0)\n"
        f"os.execv({str(bubblewrap_module.candidates(os.environ, repo)[0])!r}, ['bwrap', *sys.argv[1:]])\n"
    )
    monkeypatch.setattr("sandbox.box.landlock_version", lambda: 0)
    for program, reason in (
        (failing, "No permissions"),
        (open_door, "no user namespace"),
        (leaky, "could be written"),
    ):
        monkeypatch.setattr("sandbox.box.candidates", lambda *_, program=program: [program])
        with pytest.raises(NoSandbox, match=reason):
            await Sandbox.open(repo)


async def test_no_user_namespaces(repo: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a sandbox there is no room for another one, and Ostro says so: what is left is tier C."""
    box = await open_sandbox()
    program = (
        "import asyncio, pathlib, sandbox\n"
        "async def main():\n"
        "    async with await sandbox.Sandbox.open(pathlib.Path.cwd()) as box:\n"
        "        print(box.describe()['tier'])\n"
        "asyncio.run(main())\n"
    )
    top = Path(__file__).parents[2]
    found = bubblewrap_module.candidates(os.environ, repo)
    extra = [top / "sandbox", *Path(sys.prefix).glob("lib"), *found[:1]]
    done = await box._room.launcher.run(
        box.workspace._policy.with_mounts(*(Mount(path.resolve(), path) for path in extra)),
        [os.path.realpath(sys.executable), "-c", program],
        env={"PYTHONPATH": os.pathsep.join([str(top), *(p for p in sys.path if "site-packages" in p)])},
        cwd=repo,
        limits=Limits(seconds=60),
    )
    assert done.stdout.text() == "C\n"


async def test_the_repository_cannot_bring_bubblewrap(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(repo / "bwrap", "exit 0")
    assert shutil.which("bwrap", path=f"{repo}:.") == str(repo / "bwrap")
    found = bubblewrap_module.candidates({"PATH": f"{repo}:."}, repo)
    assert repo / "bwrap" not in found


def test_system_bubblewrap_comes_first(repo: Path) -> None:
    found = bubblewrap_module.candidates(os.environ, repo)
    if Path("/usr/bin/bwrap").exists():
        assert found[0] == Path("/usr/bin/bwrap")
    assert shutil.which("sh")


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


async def test_ostro_in_the_repository_is_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs would be the workspace's to write, and run outside of it."""
    monkeypatch.setattr(sys, "prefix", str(repo / ".venv"))
    with pytest.raises(SandboxError, match="Ostro itself is installed in this repository"):
        await Sandbox.open(repo)
    async with await Sandbox.open(repo, unsafe=True) as box:
        assert box.describe()["tier"] == "none"
