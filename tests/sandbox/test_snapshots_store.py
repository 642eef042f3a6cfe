"""The store: whole or absent under a kill and on a full disk, small for small edits, pruned when old."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from sandbox import Sandbox, SandboxError, SnapshotMissing, snapshots
from sandbox.errors import TooLong
from sandbox.limits import Limits
from sandbox.recorder import chunks, program, walk
from sandbox.recorder.chunks import LEAST, MOST, cut
from sandbox.recorder.store import BLOB, MOST_SEGMENTS, TREE, Missing, Store
from sandbox.recorder.trees import FILE, FOLDER, encode
from sandbox.toolchain import own_program
from tests import chaos
from tests.agent.running import ROOT

from .conftest import Opener

KILLS = 8
MANY_KILLS = int(os.environ.get("OSTRO_CHAOS_KILLS", "30"))
"""Of the recorder itself; more of them in a long run."""


def the_store() -> Path:
    [folder] = (Path(platformdirs.user_state_dir("ostro", appauthor=False)) / "snapshots").iterdir()
    return folder


def size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


async def test_killed_at_any_moment(repo: Path, open_sandbox: Opener) -> None:
    draw, own = random.Random(5), chaos.repository_state(repo)
    taken: dict[str, str] = {}
    for seed in range(KILLS):
        argv = [sys.executable, "-m", "tests.sandbox.snapshots_to_be_killed", str(repo), str(seed)]
        lines = chaos.lines_until_killed(argv, cwd=ROOT, seconds=draw.uniform(0.0, 0.6))
        for line in lines:
            snapshot, _, before = line.partition(" ")
            taken[snapshot] = before
    assert len(taken) > KILLS, "most runs came to more than one snapshot"
    box = await open_sandbox()
    for snapshot, before in taken.items():
        await box.workspace.restore(snapshot)
        assert chaos.digest(chaos.picture(repo)) == before
    assert not list((the_store() / "objects").glob("new-*")), "what was half written is gone"
    assert chaos.repository_state(repo) == own


async def test_a_full_disk(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_sandbox: Opener
) -> None:
    try:
        disk = chaos.small_disk(tmp_path / "disk", 4 << 20)
        place = disk.__enter__()
    except OSError as reason:
        pytest.skip(f"this user cannot mount: {reason}")
    try:
        monkeypatch.setenv("XDG_STATE_HOME", str(place))
        box = await open_sandbox()
        before = chaos.picture(repo)
        a = await box.workspace.snapshot()
        filling = chaos.fill(place)
        (repo / "big.bin").write_bytes(random.Random(2).randbytes(1 << 20))
        with pytest.raises(SandboxError, match="no room left"):
            await box.workspace.snapshot()
        assert not list((the_store() / "objects").glob("new-*"))
        with pytest.raises(SandboxError, match="no room left"):
            await box.workspace.restore(a)
        assert (repo / "big.bin").exists(), "what cannot be recorded is not overwritten"

        filling.unlink()
        full = chaos.picture(repo)
        b = await box.workspace.snapshot()
        await box.workspace.restore(a)
        assert chaos.picture(repo) == before
        await box.workspace.restore(b)
        assert chaos.picture(repo) == full
        await box.close()
    finally:
        disk.__exit__(None, None, None)


async def test_a_limit_on_files_while_writing(
    repo: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await box.workspace.snapshot()
    (repo / "big.bin").write_bytes(random.Random(2).randbytes(1 << 20))
    monkeypatch.setattr(snapshots, "RECORDER_LIMITS", Limits(file_bytes=1 << 19))
    with pytest.raises(SandboxError, match="no room left"):
        await box.workspace.snapshot()
    monkeypatch.undo()
    assert await box.workspace.changed(a, await box.workspace.snapshot()) == ["big.bin"]


@pytest.mark.parametrize("kind", ["text", "one line", "binary"])
async def test_ten_small_edits_of_a_large_file_add_little(repo: Path, box: Sandbox, kind: str) -> None:
    draw = random.Random(3)
    if kind == "binary":
        data = bytearray(draw.randbytes(5 << 20))
    else:
        end = b"\n" if kind == "text" else b"; "
        data = bytearray(b"".join(b"%d %x%s" % (n, draw.getrandbits(90), end) for n in range(180_000)))
    (repo / "large").write_bytes(data)
    await box.workspace.snapshot()
    before = size(the_store())
    for step in range(10):
        at = len(data) * (step + 1) // 12
        data[at:at] = b" step %d\n" % step
        (repo / "large").write_bytes(data)
        last = await box.workspace.snapshot()
    assert size(the_store()) - before < 1_000_000
    (repo / "large").unlink()
    await box.workspace.restore(last)
    assert (repo / "large").read_bytes() == data


@pytest.fixture
def bare(repo: Path, tmp_path: Path) -> dict[str, Any]:
    """What the recorder is told of places, for running it without a sandbox around it."""
    git_dir, state = str(repo / ".git"), tmp_path / "state"
    state.mkdir()
    return {
        "root": str(repo), "store": str(state), "index": str(state), "git": ["git"], "git_dir": git_dir,
        "git_index": f"{git_dir}/index", "own_excludes": f"{git_dir}/info/exclude", "excludes": [],
        "plain": git_dir, "binary": git_dir,
    }  # fmt: skip


def asked(place: dict[str, Any], *, kill_after: float | None = None, **request: Any) -> dict[str, Any] | None:
    """The recorder's answer; None where it was killed before it had one."""
    argv = own_program(snapshots.RECORDER.parent, "recorder.program")
    told = json.dumps({"place": place, "request": {"session": "one", **request}}).encode()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            out, _ = process.communicate(told, timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    return json.loads(out.partition(b"\n")[0]) if b"\n" in out else None


def test_killed_while_it_records_and_restores(repo: Path, bare: dict[str, Any]) -> None:
    draw, own = random.Random(9), chaos.repository_state(repo)
    taken: dict[str, str] = {}
    killed = 0
    while killed < MANY_KILLS:
        for _ in range(10):
            chaos.change_something(repo, draw)
        (repo / "large").write_bytes(draw.randbytes(2 << 20))
        before = chaos.digest(chaos.picture(repo))
        began = time.monotonic()
        if answer := asked(bare, op="record", like=[]):
            taken[answer["id"]] = before
        whole = time.monotonic() - began
        (repo / "large").write_bytes(draw.randbytes(2 << 20))
        before = chaos.digest(chaos.picture(repo))
        if answer := asked(bare, op="record", like=[], kill_after=draw.uniform(whole / 3, whole)):
            taken[answer["id"]] = before
        else:
            killed += 1
        past = draw.choice(list(taken))
        if asked(
            bare, op="restore", id=past, paths=None, like=[], kill_after=draw.uniform(whole / 3, whole * 2)
        ):
            assert chaos.digest(chaos.picture(repo)) == taken[past]
        else:
            killed += 1
    for snapshot, before in taken.items():
        answer = asked(bare, op="restore", id=snapshot, paths=None, like=[])
        assert answer and "refused" not in answer
        assert chaos.digest(chaos.picture(repo)) == before
    objects = Path(bare["store"]) / "objects"
    assert not list(objects.glob("new-*")), "what was half written is gone"
    assert chaos.repository_state(repo) == own


def test_what_a_killed_one_left_goes(bare: dict[str, Any]) -> None:
    left = Path(bare["store"]) / "objects" / "new-1"
    left.parent.mkdir()
    left.write_bytes(b"half a segment")
    assert asked(bare, op="record", like=[])
    assert not left.exists()


def test_a_folder_of_many_files_adds_little(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    many = {f"{n:06}": (FILE, random.Random(n).randbytes(20)) for n in range(20_000)}
    store.put(TREE, encode(many))
    store.commit()
    before = size(tmp_path)
    many["010000"] = (FILE, b"x" * 20)
    id = store.put(TREE, encode(many))
    store.commit()
    assert size(tmp_path) - before < 100_000
    assert store.get(id) == encode(many)
    store.close()


def test_only_what_has_changed_is_read(
    repo: Path, bare: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    content = walk.Walk._content

    def counted(self: walk.Walk, fd: int, size: int) -> bytes:
        read.append(size)
        return content(self, fd, size)

    monkeypatch.setattr(walk.Walk, "_content", counted)
    # Else what was written a moment ago is read again, because its times could be given twice.
    monkeypatch.setattr(walk, "_SETTLED", 0)

    def recorded() -> list[int]:
        read.clear()
        recorder = program.Recorder(bare)
        recorder.answer({"op": "record", "session": "one", "like": []})
        recorder.close()
        return list(read)

    assert len(recorded()) == 3
    assert recorded() == []
    (repo / "src" / "calc.py").write_text("four")
    assert recorded() == [4]
    monkeypatch.setattr(walk, "_SETTLED", 2_000_000_000)
    (repo / "src" / "calc.py").write_text("five")
    assert recorded() == [4] and recorded() == [4], "as long as its times are new"


async def test_a_damaged_object_is_not_restored(repo: Path, box: Sandbox) -> None:
    a = await box.workspace.snapshot()
    (repo / "README.md").write_text("changed\n")
    await box.workspace.snapshot()
    for segment in (the_store() / "objects").iterdir():
        segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    with pytest.raises(SnapshotMissing):
        await box.workspace.restore(a)
    assert (repo / "README.md").read_text() == "changed\n"
    assert await box.workspace.snapshot(), "and the next one is whole again"


async def test_old_snapshots_are_dropped(repo: Path, box: Sandbox) -> None:
    (repo / "once.bin").write_bytes(random.Random(4).randbytes(500_000))
    old = await box.workspace.snapshot()
    (repo / "once.bin").unlink()
    kept = await box.workspace.snapshot()
    before = size(the_store())
    long_ago = time.time() - (program.KEPT_DAYS + 1) * 86_400
    os.utime(the_store() / "roots" / old, (long_ago, long_ago))
    os.utime(the_store() / "tidied", (long_ago, long_ago))
    (repo / "README.md").write_text("changed\n")
    await box.workspace.snapshot()
    assert size(the_store()) < before - 400_000
    with pytest.raises(SnapshotMissing):
        await box.workspace.restore(old)
    await box.workspace.restore(kept)
    assert (repo / "README.md").read_text() == "read me\n"


async def test_stores_of_forgotten_repositories_go(repo: Path, box: Sandbox, open_sandbox: Opener) -> None:
    await box.workspace.snapshot()
    forgotten = the_store().with_name("0" * 24)
    shutil.copytree(the_store(), forgotten)
    long_ago = time.time() - (snapshots.FORGOTTEN_DAYS + 1) * 86_400
    os.utime(forgotten / "used", (long_ago, long_ago))
    await open_sandbox()
    assert not forgotten.exists() and the_store().exists()


async def test_many_snapshots_make_few_files(repo: Path, box: Sandbox) -> None:
    taken = []
    for n in range(MOST_SEGMENTS + 5):
        (repo / "README.md").write_text(str(n))
        taken.append(await box.workspace.snapshot())
    assert len(list((the_store() / "objects").iterdir())) <= MOST_SEGMENTS
    await box.workspace.restore(taken[1])
    assert (repo / "README.md").read_text() == "1"


def test_a_writer_that_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    id = store.put(BLOB, b"x" * 10)
    assert store.get(id) == b"x" * 10
    store.close()
    again = Store(str(tmp_path))
    with pytest.raises(Missing):
        again.get(id)
    assert list((tmp_path / "objects").iterdir()) == []


def test_keeping_follows_folders_and_long_objects(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    long = random.Random(6).randbytes(20 * MOST)
    blob = store.put(BLOB, long)
    many = {f"{n}": (FILE, random.Random(n).randbytes(20)) for n in range(9000)}
    folder = store.put(TREE, encode({**many, "long": (FILE, blob)}))
    top = store.put(TREE, encode({"folder": (FOLDER, folder)}))
    other = store.put(BLOB, b"unwanted")
    store.commit()
    assert store.keep_only([top])
    assert store.get(blob) == long and store.get(folder)
    with pytest.raises(Missing):
        store.get(other)
    store.close()


def test_chunks_are_the_same_however_the_data_came() -> None:
    data = random.Random(7).randbytes(3 * MOST) + b"a line\n" * 50_000
    whole = list(cut([data]))
    pieces = list(cut(data[n : n + 1000] for n in range(0, len(data), 1000)))
    assert b"".join(whole) == data and b"".join(pieces) == data
    assert max(map(len, whole)) <= MOST
    assert whole == pieces


def plainly(data: bytes) -> list[bytes]:
    """Cuts as `cut` is defined: a piece ends after each separator, runs of them not thought of."""
    pattern, found, start = chunks._pattern(data), [], 0
    ends = set(b"\n" if pattern is chunks._LINES else b"\n\0 ,;")
    while start < len(data):
        at, end = start + LEAST, min(start + MOST, len(data))
        for n in range(at, end):
            if data[n] in ends:
                if zlib.crc32(data[at : n + 1]) < (n + 1 - at) * chunks._SCALE:
                    end = n + 1
                    break
                at = n + 1
        found.append(data[start:end])
        start = end
    return found


@pytest.mark.parametrize("alphabet", [b"\0a", b"\0\0\0\0 ,x", b"\n\nab", b"\n", b" ;", bytes(range(256))])
def test_runs_of_separators_are_cut_as_if_one_by_one(alphabet: bytes) -> None:
    draw = random.Random(7)
    data = b"".join(bytes([draw.choice(alphabet)]) * draw.choice([1, 1, 1, 7, 5000]) for _ in range(300))
    data += bytes(draw.choices(alphabet, k=200_000))
    assert list(cut([data])) == plainly(data)
    for separator in b"\n\0 ,;":
        assert zlib.crc32(bytes([separator])) >= chunks._SCALE


def test_zeros_are_cut_quickly() -> None:
    began = time.process_time()
    assert {len(chunk) for chunk in cut([bytes(1 << 20)] * 64)} == {MOST}
    assert time.process_time() - began < 2, "one by one it takes ten"


async def test_a_patch_that_is_too_long_is_no_lack_of_time(
    repo: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await box.workspace.snapshot()
    (repo / "huge.bin").write_bytes(random.Random(3).randbytes(2 << 20))
    b = await box.workspace.snapshot()
    few = snapshots.RECORDER_LIMITS.model_copy(update={"output_bytes": 1 << 20})
    monkeypatch.setattr(snapshots, "RECORDER_LIMITS", few)
    with pytest.raises(TooLong, match=r"patch would be longer than 1 MiB.* left out"):
        await box.workspace.diff(a, b)
    assert await box.workspace.changed(a, b) == ["huge.bin"]
    await box.workspace.restore(a)
    assert not (repo / "huge.bin").exists()
