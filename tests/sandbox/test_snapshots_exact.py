"""What git would not keep: permissions, empty folders, inner repositories, bytes that filters rewrite."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError
from sandbox.policy import Pin
from sandbox.toolchain import own_python
from tests.chaos import change_something, picture, repository_state

from .conftest import Opener, git


@pytest.fixture
def odd(repo: Path) -> Path:
    """A repository with all that is hard to keep."""
    (repo / ".gitattributes").write_text(
        "* text=auto eol=lf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n*.f filter=evil\n"
    )
    (repo / "dos.txt").write_bytes(b"one\r\ntwo\r\nthree\n")
    (repo / "keyword.id").write_bytes(b"$Id: 123 $\n")
    (repo / "wide.u16").write_bytes("wide\r\n".encode("utf-16"))
    (repo / "filtered.f").write_bytes(b"as it is\0\r")
    (repo / "long.txt").write_bytes(b"".join(b"line %d\r\n" % n for n in range(40_000)))
    (repo / "long.bin").write_bytes(random.Random(1).randbytes(300_000))
    for name in (b"two\nlines", b"latin \xe9\xff", b":(top)x", b" spaces ", b"-rf", b"%2F"):
        Path(os.fsdecode(os.path.join(os.fsencode(repo), name))).write_bytes(name)
    (repo / "secret").write_text("mine alone")
    (repo / "secret").chmod(0o600)
    (repo / "tool").write_text("#!/bin/sh\n")
    (repo / "tool").chmod(0o750)
    (repo / "frozen").mkdir()
    (repo / "frozen" / "inside").write_text("cannot be replaced")
    (repo / "frozen" / "inside").chmod(0o400)
    (repo / "frozen").chmod(0o500)
    (repo / "private").mkdir(mode=0o700)
    (repo / "hollow" / "deeper").mkdir(parents=True)
    (repo / "link").symlink_to("README.md")
    (repo / "dangling").symlink_to(os.fsdecode(b"nowhere \xff\n"))
    (repo / "to folder").symlink_to("src")
    return repo


async def test_comes_back_byte_for_byte(odd: Path, box: Sandbox) -> None:
    before, own = picture(odd), repository_state(odd)
    snapshot = await box.workspace.snapshot()
    for path in odd.iterdir():
        if path.name == ".git":
            continue
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
            shutil.rmtree(path)
        else:
            path.unlink()
    (odd / "new").mkdir()
    assert picture(odd).keys() == {b"new"}

    await box.workspace.restore(snapshot)

    assert picture(odd) == before
    assert repository_state(odd) == own
    assert await box.workspace.snapshot() == snapshot


async def test_permissions_alone(odd: Path, box: Sandbox) -> None:
    before = picture(odd)
    a = await box.workspace.snapshot()
    (odd / "secret").chmod(0o644)
    (odd / "private").chmod(0o755)
    (odd / "README.md").chmod(0o600)
    (odd / "hollow" / "deeper").rmdir()
    b = await box.workspace.snapshot()

    assert await box.workspace.changed(a, b) == [], "a patch cannot show it"
    assert await box.workspace.diff(a, b) == ""
    assert await box.workspace.changed(a, b, exact=True) == [
        "README.md",
        "hollow/deeper",
        "private",
        "secret",
    ]
    await box.workspace.restore(a)
    assert picture(odd) == before


async def test_permissions_that_are_usual_here(repo: Path, box: Sandbox) -> None:
    """As with another umask: what is common is said once, and the odd one out is kept."""
    for path in (repo / "src", *repo.glob("*.md"), *repo.glob("src/*")):
        path.chmod(0o770 if path.is_dir() else 0o660)
    before = picture(repo)
    a = await box.workspace.snapshot()
    for path in (repo / "src", *repo.glob("*.md"), *repo.glob("src/*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert await box.workspace.changed(a, await box.workspace.snapshot(), exact=True)
    await box.workspace.restore(a)
    assert picture(repo) == before


async def test_an_inner_repository_comes_back_with_its_git_folder(repo: Path, open_sandbox: Opener) -> None:
    inner = repo / "vendor" / "inner"
    box = await open_sandbox()
    script = (
        "mkdir -p vendor/inner && cd vendor/inner && git init -q && echo 1 > kept && echo '*.o' > .gitignore"
        " && echo x > made.o && git add -A && git -c user.name=T -c user.email=t@example.org commit -qm one"
        " && echo 2 > untracked && mkdir hollow"
    )
    assert (await box.workspace.run(["sh", "-c", script])).exit_code == 0
    before = picture(repo)
    a = await box.workspace.snapshot()
    assert (await box.workspace.run(["rm", "-rf", "vendor"])).exit_code == 0
    assert not inner.exists()
    b = await box.workspace.snapshot()
    assert await box.workspace.changed(a, b) == [
        f"vendor/inner/{n}" for n in (".gitignore", "kept", "untracked")
    ]

    await box.workspace.restore(a)

    before.pop(b"vendor/inner/made.o")
    assert picture(repo) == before, "all but what the inner repository ignores"
    assert git(inner, "status", "--porcelain") == "?? untracked\n"
    git(inner, "fsck", "--strict")


async def test_a_submodule(repo: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "lib.c").write_text("int x;\n")
    (other / "kept.log").write_text("ignored by the outer rules, but tracked\n")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    git(repo, "commit", "--quiet", "--message", "with a submodule")
    box = await open_sandbox()
    before, own = picture(repo), repository_state(repo)
    a = await box.workspace.snapshot()
    (repo / "sub" / "lib.c").write_text("int y;\n")
    (repo / "sub" / "kept.log").unlink()
    b = await box.workspace.snapshot()
    assert await box.workspace.changed(a, b) == ["sub/kept.log", "sub/lib.c"]
    assert repository_state(repo) == own
    patch = tmp_path / "change.patch"
    patch.write_text(await box.workspace.diff(a, b))

    await box.workspace.restore(a)

    assert picture(repo) == before
    git(repo, "apply", str(patch))
    assert (repo / "sub" / "lib.c").read_text() == "int y;\n"


async def test_any_changes_at_all(repo: Path, box: Sandbox) -> None:
    draw = random.Random(11)
    taken = []
    for _ in range(25):
        change_something(repo, draw)
        taken.append((await box.workspace.snapshot(), picture(repo)))
    draw.shuffle(taken)
    for snapshot, before in taken:
        await box.workspace.restore(snapshot)
        assert picture(repo) == before
        assert await box.workspace.snapshot() == snapshot, "the same files have the same id"


async def test_what_is_ignored_stays_where_it_is(repo: Path, box: Sandbox) -> None:
    a = await box.workspace.snapshot()
    (repo / "new").mkdir()
    (repo / "new" / "made.log").write_text("ignored")
    (repo / "new" / "made.txt").write_text("recorded")
    b = await box.workspace.snapshot()
    await box.workspace.restore(a)
    assert [path.name for path in (repo / "new").iterdir()] == ["made.log"]
    (repo / "new" / "made.log").rename(repo / "kept.log")
    (repo / "new").rmdir()
    (repo / "new").write_text("a file")
    c = await box.workspace.snapshot()
    await box.workspace.restore(b)
    (repo / "kept.log").rename(repo / "new" / "made.log")
    with pytest.raises(SandboxError, match=r"new/made\.log"):
        await box.workspace.restore(c)
    assert (repo / "new" / "made.txt").read_text() == "recorded", "nothing was touched"


async def test_other_ignore_rules_lose_nothing(repo: Path, box: Sandbox) -> None:
    (repo / "draft.txt").write_text("untracked\n")
    a = await box.workspace.snapshot()
    (repo / ".gitignore").write_text("*.txt\n")
    b = await box.workspace.snapshot()
    assert await box.workspace.changed(a, b) == [".gitignore"], "recorded once, it stays recorded"
    (repo / "draft.txt").write_text("edited, and ignored by now\n")
    now = await box.workspace.restore(a)
    assert (repo / "draft.txt").read_text() == "untracked\n"
    await box.workspace.restore(now)
    assert (repo / "draft.txt").read_text() == "edited, and ignored by now\n"


async def test_an_ignored_file_that_a_snapshot_holds_is_recorded_first(
    repo: Path, open_sandbox: Opener
) -> None:
    (repo / "draft.txt").write_text("first\n")
    first = await open_sandbox()
    a = await first.workspace.snapshot()
    await first.close()
    (repo / ".gitignore").write_text("*.txt\n")
    (repo / "draft.txt").write_text("second\n")
    box = await open_sandbox()
    now = await box.workspace.restore(a)
    assert (repo / "draft.txt").read_text() == "first\n"
    await box.workspace.restore(now)
    assert (repo / "draft.txt").read_text() == "second\n"


async def test_a_file_added_to_the_index_is_recorded(repo: Path, box: Sandbox) -> None:
    (repo / "kept.log").write_text("1")
    a = await box.workspace.snapshot()
    git(repo, "add", "--force", "kept.log")
    b = await box.workspace.snapshot()
    assert await box.workspace.changed(a, b) == ["kept.log"]


async def test_ignored_files_that_go_are_named_once(repo: Path, box: Sandbox) -> None:
    (repo / ".env").write_text("KEY=1\n")
    (repo / ".gitignore").write_text(".env\nbuild/\nnotes.log\n__pycache__/\n")
    (repo / "notes.log").write_text("mine\n")
    (repo / "build").mkdir()
    for n in range(20):
        (repo / "build" / f"{n}.o").write_text(str(n))
    (repo / "src" / "__pycache__").mkdir()
    (repo / "src" / "__pycache__" / "x.pyc").write_text("")
    await box.workspace.snapshot()
    assert box.workspace.notes() == []
    await box.workspace.run(
        ["sh", "-c", "rm -r .env build src/__pycache__; echo theirs > notes.log; echo > made.log"]
    )
    await box.workspace.snapshot()
    deleted, changed = box.workspace.notes()
    assert ".env" in deleted and "build/ (20 files)" in deleted and "pycache" not in deleted
    assert "notes.log" in changed and "made.log" not in changed
    await box.workspace.run(["sh", "-c", "echo again > notes.log"])
    await box.workspace.snapshot()
    assert box.workspace.notes() == [], "its own content is gone already"


async def test_an_unreadable_file_stops_nothing(repo: Path, box: Sandbox) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make another user's file")
    for name in ("locked", "known"):
        (repo / name).write_text("x")
    (repo / "locked").chmod(0)
    os.chown(repo / "locked", 1234, 1234)
    os.utime(repo / "known", (1, 1))
    await asyncio.sleep(2.1)  # its times tell it from other contents from then on
    a = await box.workspace.snapshot()
    [note] = box.workspace.notes()
    assert "locked" in note and "known" not in note
    os.chown(repo / "known", 1234, 1234)
    (repo / "known").chmod(0)
    b = await box.workspace.snapshot()
    assert box.workspace.notes() == []
    assert await box.workspace.changed(a, b) == [], "it has not gone, and cannot be looked into any more"
    await box.workspace.restore(a, ["src"])
    assert (repo / "locked").exists()


async def test_without_a_sandbox(odd: Path, open_sandbox: Opener) -> None:
    box = await open_sandbox(unsafe=True)
    before = picture(odd)
    a = await box.workspace.snapshot()
    (odd / "secret").chmod(0o644)
    (odd / "dos.txt").write_text("changed")
    b = await box.workspace.snapshot()
    assert "+changed" in await box.workspace.diff(a, b)
    await box.workspace.restore(a)
    assert picture(odd) == before


async def test_special_files_are_left_alone(repo: Path, box: Sandbox) -> None:
    os.mkfifo(repo / "pipe")
    a = await box.workspace.snapshot()
    (repo / "README.md").write_text("changed\n")
    await box.workspace.restore(a)
    assert stat.S_ISFIFO((repo / "pipe").lstat().st_mode)
    assert (repo / "README.md").read_text() == "read me\n"


MADE = """
git init -q one && git -C one -c user.name=T -c user.email=t@e commit -q --allow-empty -m x
git init -q --bare two; mkdir deep; git init -q deep/three
echo '[user]' >> inner/.git/config; echo 'echo hello' > inner/.git/hooks/post-commit; echo x > inner/new
rm -rf gone
"""


def outside(script: str, folder: Path) -> None:
    subprocess.run(["sh", "-c", script], cwd=folder, check=True)


async def test_repositories_inside_come_and_go(repo: Path, open_sandbox: Opener) -> None:
    """Seen from a later process, which protects them from its commands."""
    for name in ("inner", "gone"):
        git(repo, "init", "--quiet", name)
        git(repo / name, "commit", "--quiet", "--allow-empty", "--message", "x")
    before, own = picture(repo), repository_state(repo)
    first = await open_sandbox()
    a = await first.workspace.snapshot()
    await first.close()
    outside(MADE, repo)
    after = picture(repo)

    second = await open_sandbox()
    made = await second.workspace.restore(a)
    assert picture(repo) == before
    await second.close()
    third = await open_sandbox()
    await third.workspace.restore(made)
    assert picture(repo) == after
    assert repository_state(repo) == own


async def test_what_is_mounted_on_stops_it_before_anything_is_written(repo: Path, box: Sandbox) -> None:
    (repo / "held").mkdir()
    (repo / "held" / "a b").write_text("1")
    a = await box.workspace.snapshot()
    (repo / "README.md").write_text("changed\n")
    (repo / "held" / "a b").write_text("2")
    snapshots = box.workspace._snapshots
    held = (Pin(repo / "held" / "a b"),)
    snapshots.policy = replace(snapshots.policy, pins=held)
    with pytest.raises(SandboxError, match="held/a b is protected inside the sandbox"):
        await box.workspace.restore(a)
    assert (repo / "README.md").read_text() == "changed\n"


DEEP = """
import os, sys
name = sys.argv[1]
for n in range(int(sys.argv[2])):
    os.mkdir(name)
    os.chdir(name)
    open("f", "w").close()
"""


@pytest.mark.parametrize(("name", "count"), [("d", 4500), ("d" * 250, 40)])
async def test_a_tree_too_deep_to_record_stops_nothing(
    repo: Path, box: Sandbox, name: str, count: int
) -> None:
    a = await box.workspace.snapshot()
    await box.workspace.run([str(own_python()), "-c", DEEP, name, str(count)])
    (repo / "README.md").write_text("changed\n")
    b = await box.workspace.snapshot()
    [note] = box.workspace.notes()
    assert "too deep" in note and name[:100] in note and len(note) < 400
    changed = await box.workspace.changed(a, b)
    assert {"README.md", f"{name}/f", f"{name}/{name}/{name}/f"} <= set(changed)
    assert len(changed) < count
    assert f"b/{name}/f" in await box.workspace.diff(a, b)
    assert await box.workspace.snapshot() == b
    await box.workspace.restore(a)
    assert box.workspace.notes() == [], "told once"
    assert (repo / "README.md").read_text() == "read me\n"
    assert not (repo / name / "f").exists() and (repo / name / name).exists(), (
        "what no checkpoint holds stays"
    )
    await box.workspace.restore(b)
    assert (repo / name / name / "f").exists()


async def test_a_file_of_holes_comes_back_with_them(repo: Path, box: Sandbox) -> None:
    """It may be larger than the disk, and than the memory."""
    file, some = repo / "holes", random.Random(1).randbytes(100_000)
    with_holes(file, 300 << 20, some, 200 << 20)
    a = await box.workspace.snapshot()
    file.unlink()
    await box.workspace.restore(a)
    assert file.stat().st_size == 300 << 20 and file.stat().st_blocks * 512 < 4 << 20
    assert part(file, (200 << 20) - 10, 100_020) == bytes(10) + some + bytes(10)


def with_holes(file: Path, size: int, data: bytes, at: int) -> None:
    with file.open("wb") as opened:
        opened.truncate(size)
        opened.seek(at)
        opened.write(data)


def part(file: Path, at: int, size: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(at)
        return opened.read(size)
