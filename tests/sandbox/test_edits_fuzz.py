"""Random edits in a tree full of traps: no byte outside changes, and inside only the file that was meant.

`make test` runs a small fixed slice. OSTRO_FUZZ_CALLS=10000 asks for more tool calls, by a seed of their own:
`OSTRO_FUZZ_CALLS=10000 pytest --hypothesis-seed=N tests/sandbox/test_edits_fuzz.py`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import NoSandbox, Sandbox
from tests.tools.calling import call
from tools import OutputStore, ToolContext

from .conftest import git

CALLS = int(os.environ.get("OSTRO_FUZZ_CALLS", "600"))
EACH = 10
"""Tool calls of one example."""
Call = tuple[str, dict[str, Any]]
"""A tool and its arguments."""
Seen = dict[str, tuple[int, int, int, bytes]]
"""What is below a folder: mode, number of links, time of change (not of a folder), and content or target."""

RACER = """
import os, shutil, sys, time
outside = sys.argv[1]
def clear(p):
    try:
        os.unlink(p)
    except IsADirectoryError:
        shutil.rmtree(p, ignore_errors=True)
    except OSError:
        pass
def refill():
    clear("race")
    os.mkdir("race")
    open("race/f", "w").write("racing")
turns = [
    lambda: (clear("race"), os.symlink(outside, "race")),
    lambda: refill(),
    lambda: (clear("race"), os.symlink("../..", "race")),
    lambda: (clear("race"), os.symlink(".git", "race")),
    lambda: (clear("race"), os.mkfifo("race")),
    lambda: (refill(), os.rename("race/f", "race/g"), os.symlink(f"{outside}/f", "race/f")),
    lambda: (refill(), clear("race/f"), os.mkfifo("race/f")),
    lambda: (refill(), os.link("race/f", "race/h"), os.rename("race", "moved"), clear("moved")),
    lambda: (refill(), os.mkdir("race/d"), os.rename("race/d", "d2"), clear("d2")),
]
open("racing", "w").close()
while True:
    for turn in turns:
        try:
            turn()
        except OSError:
            pass
"""


@dataclass
class Ground:
    """A repository with a sandbox over it, and what lies around it and must not change."""

    top: Path
    repo: Path
    context: ToolContext
    runner: asyncio.Runner
    stack: AsyncExitStack

    def around(self) -> Seen:
        """Everything but the working tree; of git's folder, what makes git run programs."""
        found = look(self.top).items()
        inside = ("work/repo/.git/hooks", "work/repo/.git/config", "work/repo/.git/info")
        # Without the number of links: a command may give a hard link in the tree another name.
        return {
            path: (mode, 0, changed, content)
            for path, (mode, _links, changed, content) in found
            if not path.startswith("work/repo/") or path.startswith(inside)
        }

    def reset(self) -> None:
        for name in os.listdir(self.repo):
            place = self.repo / name
            if name == ".git":
                continue
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
        plant(self.top, self.repo)


def plant(top: Path, repo: Path) -> None:
    """Files in several encodings, links of all kinds, pipes, and hard links to what lies outside."""
    for folder in ("a", "a/b", "still"):
        (repo / folder).mkdir()
    files = {
        "f": b"one\ntwo\n",
        "a/f": b"one\r\ntwo\r\n", "a/b/f": b"\xef\xbb\xbfone\ntwo", "a/l": b"one\xe9\ntwo\n",
        "a/w": b"\xff\xfe" + "one\n".encode("utf-16-le"), "a/m": "größe one\n".encode() + b"\xff",
        "still/f": b"still", "a/binary": b"one\0",
    }  # fmt: skip
    for name, data in files.items():
        (repo / name).write_bytes(data)
    (repo / "a/b/f").chmod(0o600)
    (repo / "a/l").chmod(0o444)
    links = {
        "in": "a", "a/up": "..", "out": "../..", "a/abs": str(repo / "a" / "b"),
        "absout": str(top / "sibling"),
        "a/fileout": str(top / "sibling" / "f"), "gitlink": ".git", "loop": "loop", "a/none": "nothing",
        "a/filein": "b/f", "slash": "/", "proc": "/proc/self/root",
    }  # fmt: skip
    for name, target in links.items():
        (repo / name).symlink_to(target)
    os.mkfifo(repo / "a" / "fifo")
    os.link(top / "linked", repo / "hard")


def look(top: Path) -> Seen:
    """Without following a link."""
    seen: Seen = {}
    for here, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            status = os.lstat(path)
            is_folder, content = stat.S_ISDIR(status.st_mode), b""
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            changed, links = (0, 0) if is_folder else (status.st_mtime_ns, status.st_nlink)
            seen[os.path.relpath(path, top)] = (status.st_mode, links, changed, content)
    return seen


@pytest.fixture(scope="module", params=["sandboxed", "bare"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Bare, the file server has to hold alone: there is nothing around it."""
    parent = next((p for p in ("/srv", "/opt", "/var/tmp") if os.access(p, os.W_OK)), "/tmp")
    top = Path(parent) / f"ostro-fuzz-{os.getpid()}-{request.param}"
    repo = top / "work" / "repo"
    repo.mkdir(parents=True)
    for folder in ("sibling", "work/repository", "home/.ssh"):
        (top / folder).mkdir(parents=True)
        for name in ("f", "one", "a"):
            (top / folder / name).write_text("one outside")
    (top / "linked").write_text("one outside")
    git(repo, "init", "--quiet")
    plant(top, repo)

    async def start() -> tuple[AsyncExitStack, Sandbox]:
        stack = AsyncExitStack()
        return stack, await stack.enter_async_context(
            await Sandbox.open(repo, unsafe=request.param == "bare")
        )

    with asyncio.Runner() as runner:
        try:
            stack, box = runner.run(start())
        except NoSandbox as reason:
            shutil.rmtree(top)
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(reason))
        context = ToolContext(workspace=box.workspace, outputs=OutputStore())
        yield Ground(top, repo, context, runner, stack)
        runner.run(stack.aclose())
    shutil.rmtree(top)


NAMES = st.sampled_from(
    ["f", "a", "b", "in", "up", "out", "abs", "absout", "fileout", "filein", "gitlink", "loop", "none",
     "config", "slash", "proc", "fifo", "hard", "l", "w", "m", "binary", "new", ".git", ".GIT", ".g\u200cit",
     "hooks", "..", ".", "sibling", "home", ".ssh", "one", "x" * 256, "ü\n", "-rf", "etc", "tmp", "work"]
)  # fmt: skip
THERE = st.sampled_from(
    ["f", "a/f", "a/b/f", "in/b/f", "a/filein", "a/m", "a/w", "a/up/f", "hard", "a/fileout", "absout/f",
     "out/sibling/f", "a/abs/f", "gitlink/config", "a/up/gitlink/hooks/pre-commit", "new/deep/er",
     "a/b/new", "slash/etc/hostname", "proc/etc/hostname", "/proc/self/cwd/f", "a/../f", "in/../f"]
)  # fmt: skip
PATHS = st.one_of(
    THERE,
    THERE,
    st.lists(NAMES, min_size=1, max_size=6).map("/".join),
    st.tuples(st.sampled_from(["/", "//", "./"]), st.lists(NAMES, max_size=4).map("/".join)).map("".join),
    st.text(max_size=12),
)  # fmt: skip
RACED = st.one_of(
    st.sampled_from(["race/f", "race", "race/new", "race/g", "race/h", "race/hooks/x", "race/sibling/f"]),
    PATHS,
)
TEXTS = st.one_of(
    st.sampled_from(["one", "two", "1\n", "é\n", "x\r\ny\n", "one\ntwo\n", ""]), st.text(max_size=20)
)
COMMANDS = [
    "ln -sf ../../sibling/f f", "ln -sfn ../../sibling a/b", "rm -rf a; ln -s / a", "ln -f hard a/hard2",
    "rm -f f; mkfifo f", "mv a moved; ln -s moved a", "ln -f ../../sibling/f f; ln -f ../../linked f2; true",
    "cp -r .git/. bare; true", "mkdir -p n/.git/hooks", "[ -L f ] || chmod 0 f", "[ -L a ] || chmod -w a",
    "ln -sfn .git a/b", "rm -rf a/b",
]  # fmt: skip


def calls(paths: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Of `Call`s."""
    old = st.one_of(st.sampled_from(["one", "one", "one\n", "two"]), TEXTS)
    edit = st.fixed_dictionaries({"path": paths, "old": old, "new": TEXTS, "replace_all": st.booleans()})
    write = st.fixed_dictionaries({"path": paths, "content": TEXTS})
    read = st.fixed_dictionaries({"path": paths})
    return st.one_of(
        edit.map(lambda a: ("edit", a)), edit.map(lambda a: ("edit", a)), write.map(lambda a: ("write", a)),
        st.one_of(read.map(lambda a: ("read", a)), read.map(lambda a: ("list", a))),
    )  # fmt: skip


def many(share: float) -> settings:
    """So many examples that they make this share of all calls."""
    return settings(
        max_examples=max(1, int(CALLS * share) // EACH),
        derandomize="OSTRO_FUZZ_CALLS" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
        ],
    )


SAFE_BARE = [command for command in COMMANDS if "../" not in command or command.startswith("ln -sf")]


@many(0.6)
@given(
    steps=st.lists(calls(PATHS), min_size=EACH, max_size=EACH),
    traps=st.dictionaries(st.integers(0, EACH - 1), st.sampled_from(COMMANDS), max_size=2),
)
def test_an_edit_changes_the_file_it_means_and_no_other(
    ground: Ground, steps: list[Call], traps: dict[int, str]
) -> None:
    bare = ground.context.workspace._room.launcher.bubblewrap is None
    ground.reset()
    around = ground.around()
    for number, (tool, arguments) in enumerate(steps):
        trap = traps.get(number)
        if trap and (not bare or trap in SAFE_BARE):
            ground.runner.run(ground.context.workspace.run(["sh", "-c", trap]))
        before = look(ground.repo)
        # Where it leads is decided before the call, by the host.
        path = ground.context.relative(str(arguments["path"]))
        meant = "" if "\0" in path else os.path.relpath(os.path.realpath(ground.repo / path), ground.repo)
        result = ground.runner.run(call(ground.context, tool, **arguments))
        result.model_dump_json()
        after = look(ground.repo)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        allowed = {meant} if result.ok and tool in ("edit", "write") else set()
        new_folders = {name for name in changed if name not in before and stat.S_ISDIR(after[name][0])}
        assert changed - new_folders <= allowed, (tool, arguments, result.text)
        assert all(meant.startswith(name + "/") for name in new_folders), (tool, arguments)
        if meant in before and meant in changed:
            assert before[meant][0] == after[meant][0], "the mode stays"
            assert before[meant][1] == 1, "no other name leads to what was changed"
    assert ground.around() == around


@many(0.4)
@given(steps=st.lists(calls(RACED), min_size=EACH, max_size=EACH))
def test_nothing_swapped_meanwhile_leads_out(ground: Ground, steps: list[Call]) -> None:
    bare = ground.context.workspace._room.launcher.bubblewrap is None
    ground.reset()
    around = ground.around()
    still = look(ground.repo / "still")

    async def race() -> None:
        argv = ["python3", "-c", RACER, str(ground.top / "sibling")]
        racer = asyncio.ensure_future(ground.context.workspace.run(argv, seconds=60))
        for _ in range(2000):
            if (ground.repo / "racing").exists():
                break
            await asyncio.sleep(0.005)
        assert not racer.done(), racer.result().output
        try:
            for tool, arguments in steps:
                (await call(ground.context, tool, **arguments)).model_dump_json()
        finally:
            racer.cancel()
            await asyncio.gather(racer, return_exceptions=True)

    ground.runner.run(race())
    assert ground.around() == around, "bare" if bare else "sandboxed"
    assert look(ground.repo / "still") == still
