"""Reading, writing, listing and removing through the file server, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import FileProblem, Sandbox

from .conftest import SECRET, Opener, git


async def test_round_trip(box: Sandbox, repo: Path) -> None:
    data = bytes(range(256)) * 5000
    await box.workspace.write("new folder/größe 文.bin", data)
    assert await box.workspace.read("new folder/größe 文.bin") == data
    assert (repo / "new folder" / "größe 文.bin").read_bytes() == data
    assert await box.workspace.exists("new folder")
    assert not await box.workspace.exists("new folder/none")
    await box.workspace.remove("new folder/größe 文.bin")
    await box.workspace.remove("new folder")
    assert not (repo / "new folder").exists()


async def test_write_keeps_the_mode_and_leaves_no_other_file(box: Sandbox, repo: Path) -> None:
    script = repo / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o750)
    await box.workspace.write("run.sh", b"#!/bin/sh\necho\n")
    assert script.stat().st_mode & 0o777 == 0o750
    assert sorted(os.listdir(repo)) == [".git", ".gitignore", "README.md", "run.sh", "src"]


async def test_new_files_follow_the_umask(box: Sandbox, repo: Path) -> None:
    umask = os.umask(0o027)
    try:
        await box.workspace.write("fresh.txt", b"")
    finally:
        os.umask(umask)
    assert (repo / "fresh.txt").stat().st_mode & 0o777 == 0o640


LEAVING = ["../x", "src/../../x", "/etc/passwd", "src/../../../../../../etc/passwd", "a\0b"]


@pytest.mark.parametrize("path", LEAVING)
async def test_paths_cannot_leave(box: Sandbox, repo: Path, path: str) -> None:
    for attempt in (box.workspace.read, box.workspace.exists, box.workspace.remove, box.workspace.listing):
        with pytest.raises(FileProblem):
            await attempt(path)
    with pytest.raises(FileProblem):
        await box.workspace.write(path, b"x")
    assert not (repo.parent / "x").exists()


async def test_links_that_leave_are_refused(box: Sandbox, repo: Path, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (repo / "key").symlink_to(home / ".ssh" / "id_rsa")
    (repo / "up").symlink_to("../..")
    (repo / "file").symlink_to(target)
    (repo / "loop").symlink_to("loop")
    for path in ("key", "up/target", "file", "loop"):
        with pytest.raises(FileProblem) as problem:
            await box.workspace.read(path)
        assert SECRET not in str(problem.value)
        with pytest.raises(FileProblem):
            await box.workspace.write(path, b"changed")
    assert target.read_text() == "untouched"
    await box.workspace.remove("file")
    assert target.exists()


async def test_links_inside_are_followed(box: Sandbox, repo: Path) -> None:
    (repo / "here").symlink_to("src/../README.md")
    (repo / "absolute").symlink_to(repo / "src")
    assert await box.workspace.read("here") == b"read me\n"
    await box.workspace.write("absolute/calc.py", b"x = 1\n")
    await box.workspace.write("here", b"changed\n")
    assert (repo / "here").is_symlink()
    assert (repo / "README.md").read_text() == "changed\n"
    assert (repo / "src" / "calc.py").read_text() == "x = 1\n"


async def test_special_files_are_refused(box: Sandbox, repo: Path) -> None:
    os.mkfifo(repo / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(repo / "s"))
        for path in ("pipe", "s", "src"):
            with pytest.raises(FileProblem):
                await box.workspace.read(path)
            with pytest.raises(FileProblem):
                await box.workspace.write(path, b"x")
    kinds = {entry.path: entry.kind for entry in await box.workspace.listing(ignored=True)}
    assert (kinds["pipe"], kinds["s"], kinds["src"]) == ("other", "other", "dir")


async def test_hard_links_are_not_written_through(box: Sandbox, repo: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    os.link(outside, repo / "linked")
    with pytest.raises(FileProblem, match="hard links"):
        await box.workspace.write("linked", b"changed")
    assert outside.read_text() == "untouched"


@pytest.mark.parametrize(
    "path", [".git/config", ".git/hooks/pre-commit", "src/../.git/config", ".GIT/x", "sub/.git/x"]
)
async def test_git_folders_are_not_written(box: Sandbox, path: str) -> None:
    with pytest.raises(FileProblem, match="git"):
        await box.workspace.write(path, b"x")
    with pytest.raises(FileProblem, match="git"):
        await box.workspace.remove(path)


async def test_git_folder_through_a_link_is_not_written(box: Sandbox, repo: Path) -> None:
    (repo / "way").symlink_to(".git")
    with pytest.raises(FileProblem, match="git"):
        await box.workspace.write("way/description", b"x")


async def test_a_write_protected_file_stays(box: Sandbox, repo: Path) -> None:
    (repo / "README.md").chmod(0o444)
    with pytest.raises(FileProblem, match="write-protected"):
        await box.workspace.write("README.md", b"changed")


async def test_one_sentence_for_each_mistake(box: Sandbox) -> None:
    for attempt in (box.workspace.read("none"), box.workspace.remove("src"), box.workspace.listing("none")):
        with pytest.raises(FileProblem) as problem:
            await attempt
        assert "\n" not in str(problem.value)
        assert str(problem.value).endswith(".")


async def test_listing_shows_what_git_sees(box: Sandbox, repo: Path) -> None:
    (repo / "build").mkdir()
    (repo / "build" / "out.o").write_text("")
    (repo / "kept.log").write_text("tracked although ignored")
    git(repo, "add", "--force", "kept.log")
    (repo / "other.log").write_text("")
    (repo / "src" / "__pycache__").mkdir()
    (repo / "src" / "__pycache__" / "calc.pyc").write_text("")
    listed = [entry.path for entry in await box.workspace.listing()]
    assert listed == [".gitignore", "README.md", "kept.log", "src"]
    listed = [entry.path for entry in await box.workspace.listing(recursive=True)]
    assert listed == [".gitignore", "README.md", "kept.log", "src", "src/calc.py"]
    assert [(e.path, e.kind, e.size) for e in await box.workspace.listing("src")] == [
        ("src/calc.py", "file", 32)
    ]
    everything = {entry.path for entry in await box.workspace.listing(recursive=True, ignored=True)}
    assert {"build/out.o", "other.log", "src/__pycache__/calc.pyc"} <= everything
    assert not any(path.startswith(".git/") for path in everything)


async def test_the_server_comes_back(box: Sandbox, repo: Path) -> None:
    await box.workspace.read("README.md")
    for pid in _servers(repo):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert await box.workspace.read("README.md") == b"read me\n"


async def test_a_cancelled_request_does_not_spoil_the_next(box: Sandbox) -> None:
    await box.workspace.write("large.bin", b"x" * 20_000_000)
    reading = asyncio.create_task(box.workspace.read("large.bin"))
    await asyncio.sleep(0.02)
    reading.cancel()
    assert await box.workspace.read("README.md") == b"read me\n"


async def test_many_requests_at_once(box: Sandbox) -> None:
    await asyncio.gather(*(box.workspace.write(f"many/{n}.txt", str(n).encode()) for n in range(50)))
    found = await asyncio.gather(*(box.workspace.read(f"many/{n}.txt") for n in range(50)))
    assert found == [str(n).encode() for n in range(50)]


async def test_the_same_files_without_a_sandbox(open_sandbox: Opener, repo: Path) -> None:
    box = await open_sandbox(unsafe=True)
    await box.workspace.write("README.md", b"bare\n")
    assert await box.workspace.read("README.md") == b"bare\n"
    with pytest.raises(FileProblem):
        await box.workspace.read("../../home/.ssh/id_rsa")


PARTS = st.sampled_from(["..", ".", "src", "up", "in", "calc.py", "", "canary", "work", "project"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=7))
def test_no_path_reaches_the_canary(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    """The server's walk alone, without the sandbox around it."""
    from sandbox.inside.file_server import Tree, answer

    top = tmp_path_factory.getbasetemp() / "walk"
    root = top / "work" / "project"
    if not root.exists():
        (root / "src").mkdir(parents=True)
        (root / "src" / "calc.py").write_text("inside")
        (root / "up").symlink_to("..")
        (root / "in").symlink_to("src/../src")
        for folder in (top, top / "work"):
            (folder / "canary").write_text("untouched")
    tree = Tree(str(root))
    path = "/".join(parts)
    _, content = answer(tree, {"op": "read", "path": path}, b"")
    answer(tree, {"op": "write", "path": path}, b"inside")
    os.close(tree.top)
    assert content in (b"", b"inside")
    assert (top / "canary").read_text() == (top / "work" / "canary").read_text() == "untouched"


def _servers(repo: Path) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes() if name.isdigit() else b""
        except OSError:
            continue
        if b"/run/ostro/inside/file_server.py\0" + os.fsencode(repo) in line:
            found.append(int(name))
    return found
