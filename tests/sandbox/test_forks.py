"""Forks of a workspace, by overlay and by copy."""

from __future__ import annotations

import asyncio
import fcntl
import filecmp
import itertools
import os
import shutil
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxError, Workspace, forks
from sandbox.inside.tree_copy import SHARE_BLOCKS
from sandbox.launcher import Launcher
from sandbox.scratch import remove_tree

from .conftest import SECRET, Opener, make_venv, python, shell
from .mutants import Weaker, without_and_with


@pytest.fixture(params=["overlay", "copy"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How forks of the box are made; where there is no overlay, its tests are skipped."""
    if request.param == "copy":
        monkeypatch.setattr(Workspace, "_overlaid", no_overlay)
    return request.param


async def no_overlay(*_words: object) -> None:
    return None


async def test_fork_is_apart(box: Sandbox, how: str, repo: Path) -> None:
    os.mkfifo(repo / "pipe")
    (repo / "link").symlink_to("/etc/passwd")
    (repo / "README.md").chmod(0o755)
    start = await box.workspace.snapshot()
    fork = await box.workspace.fork()
    assert fork.root == box.workspace.root == repo
    await fork.write("README.md", b"the fork's\n")
    await fork.run(["sh", "-c", "echo x > extra; rm src/calc.py; pwd"])
    assert (repo / "README.md").read_text() == "read me\n"
    assert (repo / "src" / "calc.py").exists()
    seen = await fork.run(["sh", "-c", "pwd; ls; stat -c %a README.md; readlink link; git status --short"])
    assert seen.output.replace("pipe\n", "").startswith(
        f"{repo}\nREADME.md\nextra\nlink\nsrc\n755\n/etc/passwd\n"
    )
    assert " D src/calc.py" in seen.output
    # Both share one store: the fork's patch can be applied to the workspace.
    end = await fork.snapshot()
    assert await fork.changed(start, end) == ["README.md", "extra", "src/calc.py"]
    second = await fork.fork()
    assert await second.read("README.md") == b"the fork's\n"
    await fork.discard()
    assert await second.read("README.md") == b"the fork's\n"
    await box.workspace.restore(end)
    assert (repo / "README.md").read_text() == "the fork's\n"


async def test_fork_has_the_environments(repo: Path, open_sandbox: Opener, how: str) -> None:
    make_venv(repo / ".venv")
    (repo / "node_modules" / "left-pad").mkdir(parents=True)
    box = await open_sandbox()
    fork = await (await box.workspace.fork()).fork()
    done = await fork.run([".venv/bin/python", "-c", "import sys; print(sys.prefix)"])
    assert done.output == f"{repo}/.venv\n"
    assert (await fork.run(["ls", "node_modules"])).output == "left-pad\n"
    await fork.run(["touch", ".venv/x", "node_modules/x"])
    assert not (repo / ".venv" / "x").exists() and not (repo / "node_modules" / "x").exists()
    assert not any(
        e.path.startswith(".venv/") for e in await fork.listing(recursive=True) if e.kind == "file"
    )


Sharing = Callable[[], Awaitable[tuple[Sandbox, Workspace]]]


@pytest.fixture
def sharing(repo: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> Sharing:
    """Opens a sandbox with a fork whose environment is the workspace's own."""
    monkeypatch.setattr(Workspace, "_overlaid", no_overlay)
    (repo / "node_modules" / "left-pad").mkdir(parents=True)

    async def opened() -> tuple[Sandbox, Workspace]:
        box = await open_sandbox()
        return box, await box.workspace.fork()

    return opened


NOT_COMPARED = "if not _is(path, identity):", "if False:"
SWAP = 'mv node_modules elsewhere; ln -s "$1"/.ssh node_modules'


@without_and_with
async def test_what_is_shared_was_there_when_the_fork_was_made(
    weaker: Weaker, sharing: Sharing, home: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    if works:
        weaker.without("serve.py", *NOT_COMPARED)
        monkeypatch.setattr(Launcher, "stand", no_overlay)
    box, fork = await sharing()
    await shell(box, SWAP, str(home))
    seen = await fork.run(["ls", "node_modules"])
    assert seen.output == ("id_rsa\n" if works else "left-pad\n")


@without_and_with
async def test_a_sandbox_started_anew_shares_nothing_else(
    weaker: Weaker, sharing: Sharing, home: Path, works: bool
) -> None:
    if works:
        weaker.without("serve.py", *NOT_COMPARED)
    box, fork = await sharing()
    await shell(box, SWAP, str(home))
    await fork.close()  # as where its sandbox has died
    try:
        output = (await fork.run(["sh", "-c", "ls node_modules; cat node_modules/*"])).output
    except SandboxError as problem:
        output = str(problem)
    assert (SECRET in output) is works
    assert ("node_modules was replaced meanwhile" in output) is not works


@pytest.mark.parametrize("shared", ["node_modules", ".git"])
@without_and_with
async def test_what_is_shared_is_not_written(
    repo: Path, sharing: Sharing, monkeypatch: pytest.MonkeyPatch, shared: str, works: bool
) -> None:
    monkeypatch.setattr("sandbox.forks.LARGEST_GIT", 100)
    real = forks.shared
    if works:
        monkeypatch.setattr(forks, "shared", lambda *of: [replace(one, writable=True) for one in real(*of)])
    _box, fork = await sharing()
    await fork.run(["touch", f"{shared}/made"])
    assert (repo / shared / "made").exists() is works


async def test_a_sandbox_started_anew_has_the_same_shared_folders(sharing: Sharing) -> None:
    _box, fork = await sharing()
    await fork.close()
    assert (await fork.run(["ls", "node_modules"])).output == "left-pad\n"


async def test_permissions_and_holes_are_copied(
    box: Sandbox, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "_overlaid", no_overlay)
    modes = {"a": 0o4755, "b": 0o2750, "c": 0o755, "d": 0o400, "e": 0o1777}
    for name, mode in modes.items():
        (repo / name).write_bytes(name.encode() * 10_000)
        os.utime(repo / name, ns=(1, 10**18 + 1))
        (repo / name).chmod(mode)
    with (repo / "sparse").open("wb") as file:
        for at in (0, 50 << 20, 150 << 20):
            file.seek(at)
            file.write(b"x" * 5000)
        file.truncate(200 << 20)
    shutil.copy2(repo / "a", repo / "plainly")
    assert (repo / "plainly").stat().st_mode & 0o7777 == 0o4755
    fork = await box.workspace.fork()
    for name, mode in modes.items():
        copied = (fork._source / name).stat()
        assert (copied.st_mode & 0o7777) == mode & ~0o4000
        assert copied.st_mtime_ns == 10**18 + 1
        assert (fork._source / name).read_bytes() == (repo / name).read_bytes()
    copied = fork._source / "sparse"
    assert copied.stat().st_blocks <= 2 * (repo / "sparse").stat().st_blocks
    assert filecmp.cmp(copied, repo / "sparse", shallow=False)


def shares_blocks(file: Path, copy: Path) -> bool:
    try:
        with file.open("rb") as reader, copy.open("wb") as writer:
            fcntl.ioctl(writer.fileno(), SHARE_BLOCKS, reader.fileno())
    except OSError:
        return False
    return True


async def test_a_copy_takes_no_more_of_the_disk_than_a_command(
    open_sandbox: Opener, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "_overlaid", no_overlay)
    with (repo / "large").open("wb") as file:
        for _ in range(400):
            file.write(b"x" * (1 << 20))
    if shares_blocks(repo / "large", repo.parent / "copy"):
        pytest.skip("a copy takes nothing of this disk")
    box = await open_sandbox(limits=Limits(disk_bytes=50 << 20))
    with pytest.raises(SandboxError, match="copied: more than 50 MiB of the disk were gone"):
        await box.workspace.fork()
    assert not list(box._room.scratch.path.glob("fork-*"))
    box = await open_sandbox(limits=Limits(disk_bytes=1 << 30))
    fork = await box.workspace.fork()
    assert (fork._source / "large").stat().st_size == 400 << 20, "so it would have gone on"


async def test_folders_too_deep_to_copy_are_said(
    box: Sandbox, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "_overlaid", no_overlay)
    program = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
    assert await python(box, program) == ""
    with pytest.raises((RecursionError, OSError)):
        shutil.copytree(repo / "d", repo.parent / "plainly")
    remove_tree(repo.parent / "plainly")
    with pytest.raises(SandboxError, match="copied: its folders lie too deep within each other"):
        await box.workspace.fork()
    remove_tree(repo / "d")


async def test_large_git_folder_is_shared(box: Sandbox, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "_overlaid", no_overlay)
    monkeypatch.setattr("sandbox.forks.LARGEST_GIT", 100)
    fork = await box.workspace.fork()
    done = await fork.run(["sh", "-c", "git log --oneline; touch .git/x; mv .git y"])
    assert "start" in done.output
    assert not (repo / ".git" / "x").exists()
    assert (repo / ".git").exists()


@pytest.mark.parametrize("place", [".git", "src"])
async def test_files_that_vanish_are_no_part_of_a_fork(
    box: Sandbox, how: str, repo: Path, place: str
) -> None:
    """What an editor and `git fetch` do meanwhile."""
    ended = threading.Event()

    def churn() -> None:
        for n in itertools.count():
            if ended.is_set():
                return
            (repo / place / f"swap-{n % 50}").write_text("x")
            (repo / place / f"swap-{(n - 30) % 50}").unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            fork = await box.workspace.fork()
            assert await fork.read("src/calc.py") == (repo / "src" / "calc.py").read_bytes()
            await fork.discard()
    finally:
        ended.set()
        thread.join()


async def test_forks_in_parallel(box: Sandbox, how: str) -> None:
    forks = await asyncio.gather(*(box.workspace.fork() for _ in range(4)))
    await asyncio.gather(*(fork.write("n.txt", str(n).encode()) for n, fork in enumerate(forks)))
    trees = await asyncio.gather(*(fork.snapshot() for fork in forks))
    assert len(set(trees)) == 4
    await asyncio.gather(*(fork.discard() for fork in forks))


async def test_fork_without_a_sandbox(open_sandbox: Opener, repo: Path) -> None:
    box = await open_sandbox(unsafe=True)
    fork = await box.workspace.fork()
    await fork.write("README.md", b"the fork's\n")
    assert (await fork.run(["cat", "README.md"])).output == "the fork's\n"
    assert (repo / "README.md").read_text() == "read me\n"
    a = await box.workspace.snapshot()
    assert await fork.changed(a, await fork.snapshot()) == ["README.md"]


async def test_this_machine_has_overlays(box: Sandbox) -> None:
    await box.workspace.fork()
    if not box._room.overlays:
        assert not os.environ.get("CI"), "no overlay in CI"
        pytest.skip("bubblewrap or the kernel has no overlay here")


async def test_without_overlays_a_fork_is_a_copy(
    repo: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.bubblewrap._overlay", lambda overlay: ["--no-such-option"])
    box = await open_sandbox()
    forks = [await box.workspace.fork() for _ in range(2)]
    assert not box._room.overlays
    for fork in forks:
        await fork.write("README.md", b"the fork's")
    assert (repo / "README.md").read_text() == "read me\n"


CLOSED = """
echo x > "$1"; echo '[core] fsmonitor=x' >> .git/config; mv .git y; ls .git/commondir*"""


async def test_a_fork_is_open_without_a_sandbox(open_sandbox: Opener, outside: Path) -> None:
    fork = await (await open_sandbox(unsafe=True)).workspace.fork()
    await fork.run(["sh", "-c", f"echo ../evil > .git/commondir; {CLOSED}", "sh", str(outside)])
    assert outside.read_text() == "x\n"
    moved = fork._source / "y"
    assert "fsmonitor" in (moved / "config").read_text() and (moved / "commondir").exists()


async def test_a_fork_is_as_closed_as_the_workspace(
    box: Sandbox, repo: Path, outside: Path, how: str
) -> None:
    fork = await box.workspace.fork()
    script = f"echo ../evil > .git/commondir; {CLOSED}"
    done = await fork.run(["sh", "-c", script, "sh", str(outside)])
    assert outside.read_text() == "untouched"
    assert "Read-only file system" in done.output
    assert (await fork.run(["git", "config", "core.fsmonitor"])).output == ""
    assert "Device or resource busy" in done.output
    assert "renamed to *.ostro-aside" in done.output
    assert (await fork.run(["ls", ".git/commondir"])).exit_code != 0
    assert not (repo / ".git" / "commondir").exists()


async def test_commands_and_snapshots_of_a_fork_see_each_others_writes(box: Sandbox, how: str) -> None:
    start = await box.workspace.snapshot()
    fork = await box.workspace.fork()
    for n in range(3):
        await fork.write("README.md", b"the fork's %d\n" % n)
        await fork.run(["sh", "-c", f"echo {n} > extra"])
        now = await fork.snapshot()
        assert await fork.changed(start, now) == ["README.md", "extra"]
        await fork.restore(start)
        assert (await fork.run(["sh", "-c", "cat README.md extra"])).output.startswith("read me\n")
        assert not await fork.exists("extra")
        await fork.restore(now, ["README.md"])
        assert await fork.read("README.md") == b"the fork's %d\n" % n
        await fork.restore(start)
