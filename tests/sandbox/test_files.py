"""Reading, writing, listing and removing through the file server, and what it refuses: what tools that take a
path as it is (`naive.py`) fall for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sandbox import FileProblem, Limits, Sandbox, SandboxError, version
from sandbox.inside import file_server
from sandbox.inside.tree import Tree, is_git_name

from . import naive
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


LEAVING = ["../x", "src/../../x", "/etc/passwd", f"src/{'../' * 30}etc/passwd"]


@pytest.mark.parametrize("path", [*LEAVING, "a\0b"])
async def test_paths_cannot_leave(box: Sandbox, repo: Path, path: str) -> None:
    (repo.parent / "x").write_text("untouched")
    if path in LEAVING:
        assert (repo / path).read_text()
    for attempt in (box.workspace.read, box.workspace.exists, box.workspace.remove, box.workspace.listing):
        with pytest.raises(FileProblem):
            await attempt(path)
    with pytest.raises(FileProblem):
        await box.workspace.write(path, b"x")
    assert (repo.parent / "x").read_text() == "untouched"


async def test_links_that_leave_are_refused(box: Sandbox, repo: Path, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (repo / "key").symlink_to(home / ".ssh" / "id_rsa")
    (repo / "up").symlink_to("../..")
    (repo / "file").symlink_to(target)
    (repo / "loop").symlink_to("loop")
    assert (repo / "key").read_text() == SECRET and (repo / "up" / "target").read_text() == "untouched"
    naive.write(repo / "file")
    assert target.read_text() == "evil"
    target.write_text("untouched")
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
    waits = partial(subprocess.run, ["cat", repo / "pipe"], timeout=0.3)
    with pytest.raises(subprocess.TimeoutExpired):
        await asyncio.to_thread(waits)
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
    naive.write(repo / "linked")
    assert outside.read_text() == "evil"
    outside.write_text("untouched")
    with pytest.raises(FileProblem, match="hard links"):
        await box.workspace.write("linked", b"changed")
    assert outside.read_text() == "untouched"


@pytest.mark.parametrize(
    "path", [".git/config", ".git/hooks/pre-commit", "src/../.git/config", ".GIT/x", "sub/.git/x"]
)
async def test_git_folders_are_not_written(box: Sandbox, another: Path, path: str) -> None:
    naive.write(another / path)
    assert (another / path).read_text() == "evil"
    with pytest.raises(FileProblem, match="git"):
        await box.workspace.write(path, b"x")
    with pytest.raises(FileProblem, match="git"):
        await box.workspace.remove(path)


@pytest.fixture
def another(repo: Path) -> Path:
    """The same repository in another folder."""
    folder = repo.parent / "another"
    shutil.copytree(repo, folder, symlinks=True)
    return folder


GIT_NAMES = (
    ".git",
    ".GIT",
    ".Git ",
    ".git.",
    ".git::$INDEX_ALLOCATION",
    "git~1",
    ".g\u200cit",
    ".git\ufeff",
    ".gi\ufe0ft",
)


@pytest.mark.parametrize("name", GIT_NAMES)
async def test_no_file_system_takes_a_written_name_for_git(
    box: Sandbox, repo: Path, another: Path, name: str
) -> None:
    """Not each of these names is `.git` to the file system here; it could be made, for one where it is."""
    before = sorted(os.listdir(repo))
    naive.write(another / "new" / name / "config")
    assert name in os.listdir(another / "new")
    for path in (name, f"{name}/hooks/pre-commit", f"new/{name}/config"):
        with pytest.raises(FileProblem, match="git's own"):
            await box.workspace.write(path, b"x")
    assert sorted(os.listdir(repo)) == before


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", ".git-blame", "größe", "a.git", ".gitt"])
def test_names_that_are_like_it_are_free(name: str) -> None:
    assert not is_git_name(name)


STARTERS = ["config", "commondir", "hooks/post-update", "info/attributes", "worktrees/w/commondir"]


@pytest.mark.parametrize("starter", STARTERS)
async def test_a_repository_without_a_git_folder_is_not_written(
    repo: Path, open_sandbox: Opener, starter: str
) -> None:
    """A command that makes one of these finds it removed; the file tools had no such look afterwards."""
    git(repo, "init", "--quiet", "--bare", "vendor/bare")
    (repo / "way").symlink_to("vendor/bare")
    another = repo.parent / "another"
    shutil.copytree(repo, another, symlinks=True)
    naive.write(another / "way" / starter)
    assert (another / "vendor" / "bare" / starter).read_text() == "evil"
    box = await open_sandbox()
    for path in (f"vendor/bare/{starter}", f"way/{starter}"):
        with pytest.raises(FileProblem, match="git's own"):
            await box.workspace.write(path, b"x")
        with pytest.raises(FileProblem, match="git's own"):
            await box.workspace.remove(path)


async def test_git_folder_through_a_link_is_not_written(box: Sandbox, repo: Path, another: Path) -> None:
    (repo / "way").symlink_to(".git")
    (another / "way").symlink_to(".git")
    naive.write(another / "way" / "description")
    assert (another / ".git" / "description").read_text() == "evil"
    with pytest.raises(FileProblem, match="git"):
        await box.workspace.write("way/description", b"x")


async def test_a_write_protected_file_stays(box: Sandbox, repo: Path, another: Path) -> None:
    for tree in (repo, another):
        (tree / "README.md").chmod(0o444)
    naive.replace(another / "README.md")
    assert (another / "README.md").read_text() == "evil"
    with pytest.raises(FileProblem, match="write-protected"):
        await box.workspace.write("README.md", b"changed")
    assert (repo / "README.md").read_text() == "read me\n"


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


async def test_the_server_is_not_ended_for_what_others_write(open_sandbox: Opener, tmp_path: Path) -> None:
    box = await open_sandbox(limits=Limits(disk_bytes=1 << 20))
    await box.workspace.read("README.md")
    before = _servers(box.workspace.root)
    (tmp_path / "much").write_bytes(os.urandom(1 << 25))
    await asyncio.sleep(0.5)
    assert before and _servers(box.workspace.root) == before


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


def test_a_private_file_is_never_open_to_others(
    tree: Tree, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: (modes.append(os.fstat(fd).st_mode), real(fd, mode)))
    (repo / "key").write_text("old")
    (repo / "key").chmod(0o640)
    umask = os.umask(0o022)
    naive.write(repo / "new")  # the first step of replacing
    os.umask(umask)
    assert (repo / "new").stat().st_mode & 0o777 == 0o644
    assert "refused" not in file_server.answer(tree, {"op": "write", "path": "key"}, b"new")[0]
    assert [mode & 0o777 for mode in modes] == [0o600]
    assert (repo / "key").stat().st_mode & 0o777 == 0o640


def test_new_content_does_not_run_as_somebody_else(tree: Tree, repo: Path) -> None:
    (repo / "tool").write_text("#!/bin/sh\n")
    (repo / "tool").chmod(0o6755)
    naive.replace(repo / "tool")
    assert (repo / "tool").stat().st_mode & 0o7777 == 0o6755
    file_server.answer(tree, {"op": "write", "path": "tool"}, b"#!/bin/sh\necho\n")
    assert (repo / "tool").stat().st_mode & 0o7777 == 0o755


def test_a_file_is_on_the_disk_before_it_takes_its_place(
    tree: Tree, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append(f"sync {os.fstat(fd).st_size}"), sync(fd)))
    monkeypatch.setattr(os, "rename", lambda *a, **k: (order.append("rename"), rename(*a, **k)))
    file_server.answer(tree, {"op": "write", "path": "README.md"}, b"12345")
    assert order == ["sync 5", "rename"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
async def test_somebody_elses_file_does_not_become_ours(box: Sandbox, repo: Path) -> None:
    """In a folder that all may write, replacing a file needs no right to the file itself."""
    (repo / "all").mkdir()
    (repo / "all").chmod(0o777)
    for name, mode in (("theirs", 0o644), ("shared", 0o666)):
        (repo / "all" / name).write_text("old")
        (repo / "all" / name).chmod(mode)
        os.chown(repo / "all" / name, 12345, 12345)
        shutil.copy(repo / "all" / name, repo / "copied")
        os.chown(repo / "copied", 12345, 12345)
        naive.replace(repo / "copied")
        assert (repo / "copied").stat().st_uid == 0
        with pytest.raises(FileProblem, match=r"write-protected|belongs to another user"):
            await box.workspace.write(f"all/{name}", b"new")
        assert (repo / "all" / name).read_text() == "old"
        assert (repo / "all" / name).stat().st_uid == 12345
    assert sorted(os.listdir(repo / "all")) == ["shared", "theirs"]


def test_an_access_list_is_kept(tree: Tree, repo: Path) -> None:
    listed = struct.pack("<I", 2)
    for tag, rights, who in ((1, 6, -1), (2, 6, 12345), (4, 4, -1), (16, 6, -1), (32, 0, -1)):
        listed += struct.pack("<HHi", tag, rights, who)
    file = repo / "listed"
    file.write_text("old")
    try:
        os.setxattr(file, file_server.ACCESS_LIST, listed)
    except OSError:
        pytest.skip("this file system has no access control lists")
    file_server.answer(tree, {"op": "write", "path": "listed"}, b"new")
    assert file.read_bytes() == b"new"
    assert os.getxattr(file, file_server.ACCESS_LIST) == listed
    naive.replace(file)
    assert file_server.ACCESS_LIST not in os.listxattr(file)


async def test_what_changed_meanwhile_stays(box: Sandbox, repo: Path) -> None:
    seen = version(await box.workspace.read("README.md"))
    (repo / "README.md").write_text("by the user\n")
    (repo / "new.txt").write_text("by the user\n")
    for path, expects in (("README.md", seen), ("new.txt", version(None)), ("gone.txt", seen)):
        with pytest.raises(FileProblem, match="has changed since it was read"):
            await box.workspace.write(path, b"by the model\n", expects=expects)
    assert (repo / "README.md").read_text() == (repo / "new.txt").read_text() == "by the user\n"
    assert sorted(os.listdir(repo)) == [".git", ".gitignore", "README.md", "new.txt", "src"]
    await box.workspace.write("README.md", b"new\n", expects=version(b"by the user\n"))
    await box.workspace.write("newer.txt", b"new\n", expects=version(None))


async def test_no_folder_is_made_on_a_way_that_leads_nowhere(box: Sandbox, repo: Path) -> None:
    for path in ("new/..", "new/../README.md", "new/../../x", "new/er/../x"):
        with pytest.raises(FileProblem):
            await box.workspace.write(path, b"x")
    assert not (repo / "new").exists()


ODD_NAMES = [
    b"a\nb",
    b"\xff\xfe",
    b"tab\there",
    b"x" * 255,
    "größe ‮".encode(),
    b"-rf",
    b" ",
    b"*?[",
    b"'\"$(x)",
]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_names_as_they_come(box: Sandbox, repo: Path, name: bytes) -> None:
    path = os.fsdecode(name)
    await box.workspace.write(f"odd/{path}", b"x")
    assert os.listdir(os.fsencode(repo / "odd")) == [name]
    assert [e.path for e in await box.workspace.listing("odd", ignored=True)] == [f"odd/{path}"]
    assert await box.workspace.read(f"odd/{path}") == b"x"
    await box.workspace.remove(f"odd/{path}")


@pytest.mark.parametrize(
    "path", ["new/" + "x" * 256, "new/\ud800", "new/" + "ä" * 128, "new/" * 300 + "x", "x" * 5000]
)
async def test_impossible_names_are_a_sentence(box: Sandbox, repo: Path, path: str) -> None:
    for attempt in (box.workspace.read(path), box.workspace.write(path, b""), box.workspace.exists(path)):
        with pytest.raises(FileProblem) as problem:
            await attempt
        assert str(problem.value).endswith(".") and len(str(problem.value)) < 2000
    assert await box.workspace.read("README.md") == b"read me\n"


async def test_deep_folders(box: Sandbox) -> None:
    path = "/".join(["d"] * 60) + "/file"
    await box.workspace.write(path, b"deep")
    assert await box.workspace.read(path) == b"deep"
    assert path in [entry.path for entry in await box.workspace.listing(recursive=True, ignored=True)]


def test_a_bottomless_folder_ends_no_server(tree: Tree, tmp_path: Path) -> None:
    """Folders within each other, more than there are levels of calls, files to open, or bytes in a path."""
    bottom = os.open(tree.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=bottom)
        further = os.open("d", os.O_RDONLY, dir_fd=bottom)
        os.close(bottom)
        bottom = further
    os.close(bottom)
    with pytest.raises((RecursionError, OSError)):
        naive.count(tree.root)
    listed, _ = file_server.answer(tree, {"op": "list", "path": ".", "recursive": True}, b"")
    assert len(listed["entries"]) > 100
    changed, _ = file_server.answer(tree, {"op": "newer", "since": 0}, b"")
    assert "README.md" in changed["paths"]
    subprocess.run(["rm", "-rf", f"{tree.root}/d"], check=True)


async def test_a_long_listing_arrives(box: Sandbox, repo: Path) -> None:
    """40 MB as escaped text, more than a line may have."""
    folder = repo / "long" / ("文" * 80) / ("文" * 80)
    folder.mkdir(parents=True)
    for n in range(24_000):
        (folder / f"{'文' * 80}{n}").touch()
    names = await box.workspace.listing("long", recursive=True, ignored=True)
    assert len(names) == 24_002


def _servers(repo: Path) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes() if name.isdigit() else b""
        except OSError:
            continue
        if b"file_server" in line and line.endswith(os.fsencode(repo) + b"\0"):
            found.append(int(name))
    return found


SAYS = """
import sys
sys.stdin.buffer.readline()
sys.stdout.write({first!r})
sys.stdout.flush()
for _ in range(100):
    sys.stdout.write("x" * (1 << 20))
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        ("2 99999999999\n{}", "announced an answer of 100000000001 bytes"),
        ("99999999999 2\n{}", "announced an answer of 100000000001 bytes"),
        ("-1 2\n{}", "does not run"),
        ("2 2\n[]", "does not run"),
        (f"{200_000} 0\n{'[' * 200_000}", "does not run"),
        ("", "does not run"),
    ],
    ids=["content", "words", "less than none", "a list", "too deep", "no end"],
)
async def test_an_answer_that_none_of_ours_gives_is_not_read(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, first: str, sentence: str
) -> None:
    """What a command that took the server's place would say."""
    argv = [os.path.realpath(sys.executable), "-c", SAYS.format(first=first)]
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.files.own_program", lambda *_: argv)
        patch.setattr("sandbox.files.ANSWER_WITHIN", 10.0)
        with pytest.raises(SandboxError, match=sentence):
            await box.workspace.read("README.md")
        assert box.workspace._files._service is None
    assert await box.workspace.read("README.md") == b"read me\n"


async def test_a_reader_without_a_bound_waits_for_it(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [os.path.realpath(sys.executable), "-c", SAYS.format(first="2 99999999999\n{}")]
    monkeypatch.setattr("sandbox.files.own_program", lambda *_: argv)
    monkeypatch.setattr("sandbox.files.LARGEST", 1 << 60)
    monkeypatch.setattr("sandbox.files.ANSWER_WITHIN", 1.0)
    with pytest.raises(FileProblem, match="did not answer"):
        await box.workspace.read("README.md")


async def test_a_limit_on_commands_leaves_the_tools_theirs(open_sandbox: Opener, repo: Path) -> None:
    box = await open_sandbox(limits=Limits(memory_bytes=64 << 20))
    (repo / "large").write_bytes(b"x" * (60 << 20))
    problem = None
    try:
        # A second time, so that whoever looks ten times a second has seen it.
        for _ in range(2):
            content = await box.workspace.read("large")
        await box.workspace.write("copy", content)
    except SandboxError as raised:
        problem = raised
    assert problem is None
    assert (repo / "copy").stat().st_size == 60 << 20
