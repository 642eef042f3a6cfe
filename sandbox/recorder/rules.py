"""What git tracks and what it ignores, asked from git: for names that are new, never for all of them."""

from __future__ import annotations

import contextlib
import os
import select
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .access import allowed

if TYPE_CHECKING:
    import subprocess

CACHES = ("__pycache__", ".pytest_cache")
CACHE_ENDS = (".pyc", ".pyo")
"""What running the tests leaves behind: neither recorded nor missed."""
_READ_BY_GIT = ("HEAD", "config", "config.worktree", "commondir", "index")
"""Of a git folder, by `ls-files`: git waits for a pipe of such a name for ever."""
_PATIENCE = 120.0
"""Seconds; what a configuration includes may be a pipe as well."""
_SLOW = 0.5
"""Seconds without an answer, after which it is looked whether git waits for a pipe."""
_AT_ONCE = 16 << 10
"""Bytes of names that are given to git before its answers are read; a pipe holds more."""


class GitFailed(Exception):
    """One sentence."""


class Rules:
    """For one tree. `git` is the command with its options, `git_dir` the store's own empty repository."""

    def __init__(self, git: Sequence[str], root: str, own_git_dir: str, git_dir: str) -> None:
        self._git = list(git)
        self._root = root
        self._env = {**os.environ, "GIT_DIR": git_dir, "GIT_WORK_TREE": root}
        # Not known to `check-ignore`, which matches no patterns against the names it is given.
        self._env.pop("GIT_LITERAL_PATHSPECS", None)
        self._own = own_git_dir
        self._asked: subprocess.Popen[bytes] | None = None
        self._tracked: dict[str, tuple[set[str], set[str]]] = {}
        self._held: list[int] = []

    def ignored(self, paths: Sequence[str]) -> set[str]:
        """Those of the paths that the ignore rules match, whether git tracks them or not."""
        if not paths:
            return set()
        found: set[str] = set()
        batch: list[bytes] = []
        size = 0
        for path in paths:
            # A colon at the start of a name would mean something to git.
            name = b"./" + os.fsencode(path) + b"\0"
            if size + len(name) > _AT_ONCE and batch:
                found |= self._answers(batch)
                batch, size = [], 0
            batch.append(name)
            size += len(name)
        return found | self._answers(batch)

    def tracks(self, repository: str, path: str) -> bool:
        """Whether that repository ("" is the outermost) tracks this file, or something below this folder."""
        files, folders = self._of(repository)
        below = path[len(repository) + 1 :] if repository else path
        return below in files or below in folders

    def never_wait(self, folder: int, path: str) -> None:
        """Where a list of ignored names is a pipe, git would wait for somebody who writes: that is this, now.

        Git takes it for an empty list then. Raises GitFailed where git could read it, and nobody here write.
        """
        name = path.rpartition("/")[2]
        with contextlib.suppress(OSError):  # it is gone, or closed to git too; or see `_end_its_wait`
            if (held := _held(name, folder, path, os.O_RDWR)) is not None:
                self._held.append(held)

    def close(self) -> None:
        for fd in self._held:
            os.close(fd)
        if self._asked:
            assert self._asked.stdin and self._asked.stdout
            self._asked.stdin.close()
            self._asked.stdout.close()
            self._asked.kill()  # it may be waiting for a pipe
            self._asked.wait()

    def _answers(self, batch: list[bytes]) -> set[str]:
        if self._asked is None:
            import subprocess  # most runs never ask git, and loading this takes a while

            argv = [*self._git, "check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"]
            pipe = subprocess.PIPE
            try:
                self._asked = subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=self._root, env=self._env)
            except FileNotFoundError:
                raise GitFailed("There is no `git` on PATH; install git.") from None
        asked = self._asked
        assert asked.stdin and asked.stdout
        try:
            asked.stdin.write(b"".join(batch))
            asked.stdin.flush()
        except BrokenPipeError:
            raise GitFailed("`git check-ignore` ended early.") from None
        fields = self._fields(asked.stdout.fileno(), batch)
        found: set[str] = set()
        # Source, line, pattern and path; a pattern with an exclamation mark takes in again.
        for n, name in enumerate(batch):
            source, _line, pattern, path = fields[4 * n : 4 * n + 4]
            if path != name[:-1]:
                raise GitFailed("`git check-ignore` answered out of turn.")
            if source and not pattern.startswith(b"!"):
                found.add(os.fsdecode(path[2:]))
        return found

    def _fields(self, fd: int, batch: list[bytes]) -> list[bytes]:
        answers = select.poll()
        answers.register(fd, select.POLLIN)
        data, waited = b"", 0.0
        while data.count(b"\0") < 4 * len(batch):
            if not answers.poll(1000 * _SLOW):
                waited += _SLOW
                if waited > _PATIENCE:
                    raise GitFailed(
                        f"`git check-ignore` does not answer in {self._root}; where a `.gitignore` there is "
                        "a pipe, remove it."
                    )
                self._end_its_wait(batch)
                continue
            more = os.read(fd, 1 << 16)
            if not more:
                raise GitFailed(
                    "`git check-ignore` ended early; does something change the folders all the time?"
                )
            data += more
        return data.split(b"\0")

    def _end_its_wait(self, batch: list[bytes]) -> None:
        """For a pipe that was made since its folder was looked at, or is one too many to be held."""
        folders: set[str] = set()
        for name in batch:
            path = os.fsdecode(name[2:-1])
            while path and (path := path.rpartition("/")[0]) not in folders:
                folders.add(path)
        for folder in folders:
            path = os.path.join(folder, ".gitignore")
            with contextlib.suppress(OSError):  # there is none, or git does not wait for this one
                if (opened := _held(os.path.join(self._root, path), None, path, os.O_WRONLY)) is not None:
                    os.close(opened)

    def _of(self, repository: str) -> tuple[set[str], set[str]]:
        known = self._tracked.get(repository)
        if known is None:
            known = self._tracked[repository] = self._list(repository)
        return known

    def _list(self, repository: str) -> tuple[set[str], set[str]]:
        import subprocess

        where = os.path.join(self._root, repository)
        env = {name: value for name, value in self._env.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
        if repository and any(_is_pipe(os.path.join(where, ".git", name)) for name in _READ_BY_GIT):
            return set(), set()
        if not repository:
            env.update(GIT_DIR=self._own, GIT_WORK_TREE=self._root)
        argv = [*self._git, "ls-files", "-z"]
        try:
            done = subprocess.run(
                argv, cwd=where, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise GitFailed(
                f"`git ls-files` does not answer in {where}; is what it reads there, in `.git`, a pipe?"
            ) from None
        if done.returncode != 0:
            if repository:
                return set(), set()  # what is called `.git` there is no repository
            why = os.fsdecode(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
            raise GitFailed(f"`git ls-files` failed: {why[-1]}.")
        files = {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
        folders: set[str] = set()
        for name in files:
            while (name := name.rpartition("/")[0]) and name not in folders:
                folders.add(name)
        return files, folders


def _held(name: str, folder: int | None, path: str, way: int) -> int | None:
    """A pipe, opened so that it can be written, though it may be closed to that; None for anything else.

    Raises OSError, and GitFailed where it is somebody else's, who lets it be read alone.
    """
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISFIFO(status.st_mode):
        return None
    at_once = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with allowed(name, folder, status, stat.S_IRUSR | stat.S_IWUSR):
            return os.open(name, way | at_once, dir_fd=folder)
    except PermissionError:
        os.close(os.open(name, os.O_RDONLY | at_once, dir_fd=folder))
        raise GitFailed(f"{path} is a pipe; remove it.") from None


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def is_cache(name: str) -> bool:
    return name in CACHES or name.endswith(CACHE_ENDS)
