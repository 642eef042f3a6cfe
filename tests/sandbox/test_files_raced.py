"""The file server's walk alone: paths made at random, and everything swapped between any two of its steps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.inside import file_server
from sandbox.inside.tree import Tree

from . import naive


def swap(place: Path, outside: Path) -> None:
    shutil.rmtree(place)
    place.symlink_to(outside)


@pytest.mark.parametrize("op", ["read", "write", "remove"])
def test_a_check_and_then_a_path_leads_out(repo: Path, tmp_path: Path, op: str) -> None:
    """Bare: what is swapped between the two steps that a plain tool takes."""
    outside, place = tmp_path / "outside", repo / "d"
    for folder in (outside, place):
        folder.mkdir()
        (folder / "f").write_text("untouched" if folder == outside else "inside")
    acts = {"read": lambda path: Path(path).read_text(), "write": lambda path: naive.write(Path(path)),
            "remove": os.unlink}  # fmt: skip
    found = naive.checked(repo, "d/f", acts[op], lambda: swap(place, outside))
    after = (outside / "f").read_text() if (outside / "f").exists() else None
    assert (found, after) == {
        "read": ("untouched", "untouched"), "write": (None, "evil"), "remove": (None, None)
    }[op]  # fmt: skip


SWAPPED = ("folder", "link out", "link in", "fifo", "file", "gone")


@pytest.mark.parametrize("first", SWAPPED)
@pytest.mark.parametrize("then", SWAPPED)
def test_swapped_between_two_steps(
    tree: Tree, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    """Whatever `d` is at one look and becomes before the next, what is outside stays, and nobody waits."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("untouched")

    def make(kind: str) -> None:
        place = repo / "d"
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        match kind:
            case "folder":
                place.mkdir()
                (place / "f").write_text("inside")
            case "link out":
                place.symlink_to(outside)
            case "link in":
                place.symlink_to("src")
            case "fifo":
                os.mkfifo(place)
            case "file":
                place.write_text("inside")

    requests = [
        {"op": op, "path": path} for op in ("read", "write", "remove", "exists") for path in ("d", "d/f")
    ]
    requests += [{"op": "list", "path": "d", "recursive": True}, {"op": "newer", "since": 0}]
    for call in ("open", "readlink", "stat", "link", "rename", "unlink", "mkdir", "access"):
        for request in requests:
            make(first)
            real, swapped = getattr(os, call), []

            def swapping(*args, call=call, real=real, swapped=swapped, **kwargs):
                if not swapped and any(name.endswith("dir_fd") for name in kwargs):
                    swapped.append(True)
                    with monkeypatch.context() as undone:
                        undone.setattr(os, call, real)
                        make(then)
                return real(*args, **kwargs)

            with monkeypatch.context() as patched:
                patched.setattr(os, call, swapping)
                _, content = file_server.answer(tree, request, b"changed")
            assert content != b"untouched"
            assert (outside / "f").read_text() == "untouched", (call, request)
            assert os.listdir(outside) == ["f"]
            assert not [name for name in os.listdir(repo) if name.startswith(".ostro")]


PARTS = st.sampled_from(["..", ".", "src", "up", "in", "calc.py", "", "canary", "work", "project"])


LEADS_OUT = (["..", "canary"], ["up", "canary"], ["in", "..", "..", "canary"], ["up", "..", "canary"])


@pytest.mark.parametrize("parts", LEADS_OUT)
def test_some_of_these_paths_lead_to_a_canary(tmp_path: Path, parts: list[str]) -> None:
    root = walk(tmp_path)
    assert (root / "/".join(parts)).read_text() == "untouched"


def walk(top: Path) -> Path:
    """A tree with links in it, and a file above that is to stay as it is."""
    root = top / "work" / "project"
    if not root.exists():
        (root / "src").mkdir(parents=True)
        (root / "src" / "calc.py").write_text("inside")
        (root / "up").symlink_to("..")
        (root / "in").symlink_to("src/../src")
        for folder in (top, top / "work"):
            (folder / "canary").write_text("untouched")
    return root


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=7))
def test_no_path_reaches_the_canary(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    """The server's walk alone, without the sandbox around it."""
    top = tmp_path_factory.getbasetemp() / "walk"
    tree = Tree(str(walk(top)))
    path = "/".join(parts)
    _, content = file_server.answer(tree, {"op": "read", "path": path}, b"")
    file_server.answer(tree, {"op": "write", "path": path}, b"inside")
    os.close(tree.top)
    assert content in (b"", b"inside")
    assert (top / "canary").read_text() == (top / "work" / "canary").read_text() == "untouched"


def test_a_killed_write_leaves_nothing(tree: Tree, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the moment when all of it is on the disk, the new content has no name."""
    names: list[str] = []
    before = os.listdir(repo)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: names.extend(os.listdir(repo)))
        naive.replace(repo / "README.md")
    assert set(names) - set(before) == {"README.md.new"}
    (repo / "README.md.new").unlink()
    names.clear()
    monkeypatch.setattr(os, "fsync", lambda fd: names.extend(os.listdir(repo)))
    file_server.write(tree, "README.md", b"new\n", None)
    assert (repo / "README.md").read_bytes() == b"new\n"
    assert names and sorted(names) == sorted(os.listdir(repo))
