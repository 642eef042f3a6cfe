"""A small repository, a home folder with a secret in it, and sandboxes over the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import NoSandbox, Sandbox
from sandbox.inside.tree import Tree
from sandbox.recorder.program import Recorder
from sandbox.scratch import remove_tree

from .mutants import Weaker
from .proxying import Origin, origin

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    (folder / ".ssh" / "id_rsa").write_text(SECRET)
    folder.chmod(0o700)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OSTRO_TEST_API_KEY", SECRET)
    return folder


def git(repo: Path, *argv: str, **kwargs) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *identity, *argv], cwd=repo, check=True, capture_output=True, **kwargs)
    return done.stdout.decode("utf-8", "surrogateescape")


def make_venv(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)


@pytest.fixture
def repo(tmp_path: Path, home: Path) -> Iterator[Path]:
    folder = tmp_path / "work" / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "README.md").write_text("read me\n")
    (folder / "src" / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / ".gitignore").write_text("build/\n*.log\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    yield folder
    remove_tree(folder)  # however deep: what pytest itself could not remove would stay for ever


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
Opener = Callable[..., Awaitable[Sandbox]]


@pytest_asyncio.fixture
async def open_sandbox(repo: Path) -> AsyncIterator[Opener]:
    """Opens sandboxes that are closed after the test. Without bubblewrap: skipped, in CI a failure."""
    opened: list[Sandbox] = []

    async def open_one(where: Path = repo, **options) -> Sandbox:
        try:
            sandbox = await Sandbox.open(where, **options)
        except NoSandbox as reason:
            if os.environ.get("CI"):
                pytest.fail(f"no sandbox in CI: {reason}")
            pytest.skip(str(reason))
        opened.append(sandbox)
        return sandbox

    yield open_one
    for sandbox in opened:
        await sandbox.close()


@pytest_asyncio.fixture
async def box(open_sandbox: Opener) -> Sandbox:
    return await open_sandbox()


async def shell(box: Sandbox, script: str, *argv: str, seconds: float = 20) -> str:
    return (await box.workspace.run(["sh", "-c", script, "sh", *argv], seconds=seconds)).output


async def python(box: Sandbox, program: str, *argv: str) -> str:
    done = await box.workspace.run([os.path.realpath(sys.executable), "-c", program, *argv], seconds=20)
    return done.output


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file that is not hidden (not below /tmp or a home folder), where there is such a place."""
    for parent in ("/srv", "/opt", "/var/lib", "/usr/local"):
        if os.access(parent, os.W_OK):
            break
    else:
        parent = str(tmp_path)
    folder = Path(parent) / f"ostro-test-{os.getpid()}"
    folder.mkdir()
    canary = folder / "canary"
    canary.write_text("untouched")
    yield canary
    shutil.rmtree(folder)


@pytest.fixture
def tree(repo: Path) -> Iterator[Tree]:
    """The server's own view, without the sandbox around it."""
    tree = Tree(str(repo))
    yield tree
    os.close(tree.top)


@pytest.fixture(params=["bare", "sandboxed"])
async def place(request: pytest.FixtureRequest, open_sandbox: Opener) -> tuple[Sandbox, bool]:
    """A sandbox, and whether attacks are expected to work in it."""
    bare = request.param == "bare"
    return await open_sandbox(unsafe=bare), bare


@pytest.fixture
def weaker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Weaker:
    return Weaker(monkeypatch, tmp_path)


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may sit behind a proxy."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def web() -> Iterator[Origin]:
    with origin() as about:
        yield about


@pytest.fixture
def recorder(repo: Path, tmp_path: Path) -> Iterator[Recorder]:
    git_dir, state = str(repo / ".git"), tmp_path / "state"
    state.mkdir()
    place = {
        "root": str(repo), "store": str(state), "index": str(state), "git": ["git"], "git_dir": git_dir,
        "git_index": f"{git_dir}/index", "own_excludes": f"{git_dir}/info/exclude", "excludes": [],
        "plain": git_dir, "binary": git_dir,
    }  # fmt: skip
    recorder = Recorder(place)
    yield recorder
    recorder.close()
