"""What every test may use: a home of its own, repositories, and the real models."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import platformdirs
import pytest

from engine.catalogue import resolve
from engine.errors import ModelNotFound

GitRepo = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def isolated_home() -> Iterator[Path]:
    """HOME and the XDG folders are fresh; only the cache, where the models lie, is the user's.

    The path is short, because Unix sockets lie under it and theirs may have 107 bytes at most.
    """
    cache = Path(platformdirs.user_cache_dir())
    home = Path(tempfile.mkdtemp(prefix="ostro-home-", dir="/tmp"))
    folders = {name: home / name.removeprefix("XDG_").partition("_")[0].lower() for name in XDG}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(cache))
        # A file, and not the null device: `git config --global` renames a new file over what is there.
        (home / "gitconfig").touch()
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name, folder in folders.items():
            folder.mkdir(mode=0o700)
            patch.setenv(name, str(folder))
        yield home
    shutil.rmtree(home, ignore_errors=True)


XDG = ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")


@pytest.fixture
def git_repo(tmp_path: Path) -> GitRepo:
    """Makes repositories: `git_repo({"a.py": "x = 1\\n"}, name="repo", commit=True)` returns the folder."""

    def make(files: Mapping[str, str | bytes], *, name: str = "repo", commit: bool = True) -> Path:
        repo = tmp_path / name
        repo.mkdir(parents=True)
        _git(repo, "init", "--quiet", "--initial-branch=main")
        _git(repo, "config", "user.name", "Test")
        _git(repo, "config", "user.email", "test@example.org")
        for path, content in files.items():
            file = repo / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        if commit:
            _git(repo, "add", "--all")
            _git(repo, "commit", "--quiet", "--allow-empty", "--message=start")
        return repo

    return make


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The 0.5B model's file."""
    return _model("qwen2.5-coder-0.5b")


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The 1.5B model's file."""
    return _model("qwen2.5-coder-1.5b")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random qwen2 model in a GGUF file of its own."""
    from tests.engine.tiny_gguf import write_tiny_gguf

    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def _model(name: str) -> Path:
    try:
        return resolve(name)
    except ModelNotFound as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def _git(repo: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(repo), *arguments], check=True)
