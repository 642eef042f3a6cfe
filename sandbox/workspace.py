"""One tree of files, the repository itself or a fork, and all that may be done with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.files import Entry, Files
from sandbox.git_guard import Guarded, intruders, workspace_mounts
from sandbox.launcher import Finished, Launcher
from sandbox.limits import Completed, Limits
from sandbox.policy import Mount, Policy
from sandbox.scratch import Scratch, remove_tree
from sandbox.snapshots import Snapshots, Store
from sandbox.toolchain import own_python, workspace_venvs

NOTHING = Path("/dev/null")
COPIER = Path(__file__).with_name("tree_copy.py")
COPIER_INSIDE = Path("/run/ostro/tree_copy.py")
FORK_INSIDE = Path("/run/ostro/fork")
COPY_LIMITS = Limits(seconds=600, file_bytes=1 << 40)
LARGEST_GIT = 64 << 20
"""Bytes of `.git` up to which a fork has its own; a larger one is shared, read-only."""
SHARED_FOLDERS = ("node_modules",)


@dataclass(frozen=True)
class Room:
    """What all workspaces of one sandbox have in common."""

    launcher: Launcher
    policy: Policy
    limits: Limits
    store: Store
    scratch: Scratch
    sockets: list[Path]
    """Unix sockets in the workspace that belonged to somebody when the session began."""
    guarded: list[Guarded]
    """The repositories in the workspace when the session began."""
    forks: set[Workspace]


class Workspace:
    """A working tree. Commands see it at `root`, whatever folder of the host holds it."""

    def __init__(self, room: Room, source: Path, *, shared: Sequence[Mount] = ()) -> None:
        self._room = room
        self._source = source
        self._shared = tuple(shared)
        self.root = source if room.launcher.bubblewrap is None else room.policy.root
        """The path of the tree as programs see it: the repository's own, for a fork as well."""
        own_git = all(mount.target.name != ".git" for mount in shared)
        mounts = workspace_mounts(source, self.root, room.guarded, with_git=own_git)
        if source == room.policy.root:
            mounts += [Mount(NOTHING, path) for path in room.sockets]
        policy = replace(room.policy, root=self.root).with_mounts(*mounts, *shared)
        self._policy = policy
        self._files = Files(room.launcher, policy, room.limits)
        index = room.store.index if source == room.policy.root else room.scratch.folder("index")
        self._snapshots = Snapshots(room.launcher, policy, room.store, index)
        self._turn = asyncio.Lock()

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str = ".",
        seconds: float | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[str], None] | None = None,
        extra_ro: Sequence[Path] = (),
    ) -> Completed:
        """Runs a program to its end; nothing it started survives it.

        `cwd` is relative to the workspace. `env` comes on top of the sandbox's own environment.
        `extra_ro` names files and folders of the host to be readable at the same path. Raises
        SandboxError where it could not be started at all; a missing program is exit code 127.
        """
        limits = self._room.limits
        if seconds is not None:
            limits = limits.model_copy(update={"seconds": max(seconds, 0.01)})
        extra = [Mount(Path(os.path.realpath(p)), p) for p in extra_ro]
        done = await self._room.launcher.run(
            self._policy.with_mounts(*extra),
            argv,
            cwd=self._folder(cwd),
            limits=limits,
            env=env,
            stdin=stdin,
            on_output=on_output,
        )
        return Completed(
            argv=tuple(argv),
            exit_code=done.exit_code,
            output=done.stdout.text() + _stopped(done, limits) + await self._without_intruders(),
            seconds=done.seconds,
            timed_out=done.timed_out,
            output_cut=done.stdout.cut,
        )

    async def _without_intruders(self) -> str:
        """Removes what would make git run programs and was not there before; a line that says so."""
        if self._room.launcher.bubblewrap is None:
            return ""
        found = intruders(self._source, self._room.guarded)
        if not found:
            return ""
        # Inside, because a path in the repository may lead anywhere by now.
        remove = ["/bin/rm", "-rf", "--", *found]
        await self._room.launcher.run(self._policy, remove, cwd=self.root, limits=self._room.limits)
        if left := intruders(self._source, self._room.guarded):
            raise SandboxError(
                f"A command made {left[0]}, which git would act on; remove it before you run git."
            )
        return f"\n[removed, because git would act on it: {', '.join(found)}]\n"

    async def read(self, path: str) -> bytes:
        """A regular file's content. Raises FileProblem."""
        return (await self._files.ask({"op": "read", "path": path}))[1]

    async def write(self, path: str, data: bytes) -> None:
        """Replaces (in one step, keeping its mode) or creates a file and its folders. Raises FileProblem."""
        await self._files.ask({"op": "write", "path": path}, data)

    async def exists(self, path: str) -> bool:
        """Whether a file, folder or link target is there. Raises FileProblem for a path that leaves."""
        return bool((await self._files.ask({"op": "exists", "path": path}))[0]["exists"])

    async def remove(self, path: str) -> None:
        """Deletes a file, a link (not its target) or an empty folder. Raises FileProblem."""
        await self._files.ask({"op": "remove", "path": path})

    async def listing(
        self, path: str = ".", *, recursive: bool = False, ignored: bool = False
    ) -> list[Entry]:
        """What is in a folder, `.git` left out, sorted by path; without `ignored`, only what git sees."""
        answer, _ = await self._files.ask({"op": "list", "path": path, "recursive": recursive and ignored})
        if ignored:
            return _entries(answer["entries"])
        prefix = "" if os.path.normpath(path) == "." else os.path.normpath(path) + "/"
        names = await self._snapshots.visible(prefix.rstrip("/"))
        folders = {parent for name in names for parent in _parents(name)}
        wanted = sorted(n for n in {*names, *folders} if n.startswith(prefix) and n != prefix.rstrip("/"))
        if not recursive:
            wanted = [name for name in wanted if "/" not in name[len(prefix) :]]
        answer, _ = await self._files.ask({"op": "look", "paths": wanted})
        return _entries(answer["entries"])

    async def newer(self, since: int) -> list[str]:
        """Files that changed after a time (nanoseconds), also those that git ignores; no caches of Python."""
        return (await self._files.ask({"op": "newer", "since": since}))[0]["paths"]

    def in_environment(self, path: str) -> bool:
        """Whether a path is in a virtual environment right below the root."""
        top = path.split("/")[0]
        return any(venv.name == top for venv in workspace_venvs(self._source))

    async def snapshot(self, *, like: Sequence[str] = ()) -> str:
        """Records the tracked and the untracked, not ignored, files, and repositories inside; an id.

        Byte for byte, with permissions and empty folders. What the snapshots `like` hold counts as recorded,
        whatever is ignored by now. The same id means the same files.
        """
        async with self._turn:
            return await self._snapshots.record(like)

    async def diff(self, a: str, b: str) -> str:
        """`git diff --binary` from snapshot `a` to snapshot `b`, fit for `git apply`.

        Permissions but the executable bit, empty folders and inner git folders are not in it.
        """
        return await self._snapshots.diff(a, b)

    async def changed(self, a: str, b: str, *, exact: bool = False) -> list[str]:
        """The paths that differ between two snapshots; with `exact`, also in what no patch can show."""
        return await self._snapshots.changed(a, b, exact=exact)

    async def restore(self, tree: str, paths: Sequence[str] | None = None) -> str:
        """Puts files back as they are in snapshot `tree`, all of them or `paths` (files or folders).

        A file that the snapshot does not have is deleted, unless it is ignored. The id of what was there
        before. Raises SandboxError (SnapshotMissing where the snapshot is not kept any more).
        """
        async with self._turn:
            return await self._snapshots.restore(tree, paths)

    def notes(self) -> list[str]:
        """Sentences for the user about what no snapshot holds: ignored files that a command destroyed."""
        return self._snapshots.notes()

    async def fork(self) -> Workspace:
        """A copy of the tree as it is now, seen by its commands at the same path.

        Virtual environments and node_modules right below the root are shared read-only, and so is
        a large `.git`.
        """
        launcher = self._room.launcher
        target = self._room.scratch.folder("fork")
        shared = self._shared_by_forks()
        script, into = COPIER_INSIDE, FORK_INSIDE
        if launcher.bubblewrap is None:
            # Without mounts nothing can be shared.
            shared, script, into = [], COPIER, target
        policy = self._policy.with_mounts(Mount(COPIER, script), Mount(target, into, writable=True))
        names = [mount.target.name for mount in shared]
        argv = [str(own_python()), "-I", "-S", "-X", "utf8", str(script), str(self.root), str(into), *names]
        try:
            done = await launcher.run(policy, argv, cwd=self.root, limits=COPY_LIMITS)
            if done.exit_code != 0:
                why = done.stdout.text().strip().splitlines() or ["no reason given"]
                raise SandboxError(f"The workspace could not be copied: {why[-1]}.")
            fork = Workspace(self._room, target, shared=shared)
        except BaseException:
            await asyncio.to_thread(remove_tree, target)
            raise
        self._room.forks.add(fork)
        return fork

    async def discard(self) -> None:
        """Ends a fork: its file server stops and its copy is deleted. The repository itself stays."""
        await self.close()
        if self not in self._room.forks:
            return
        self._room.forks.discard(self)
        await asyncio.to_thread(remove_tree, self._source)

    async def close(self) -> None:
        await self._files.close()

    def _shared_by_forks(self) -> list[Mount]:
        names = [venv.name for venv in workspace_venvs(self._source)]
        names += [name for name in SHARED_FOLDERS if _is_folder(self._source / name)]
        if _is_folder(self._source / ".git") and _larger(self._source / ".git", LARGEST_GIT):
            names.append(".git")
        mounts = [Mount(self._source / name, self.root / name) for name in names]
        taken = {mount.target for mount in self._shared}
        # A fork's fork shares with the same original.
        return [*self._shared, *(mount for mount in mounts if mount.target not in taken)]

    def _folder(self, cwd: str) -> Path:
        relative = os.path.relpath(cwd, self.root) if os.path.isabs(cwd) else os.path.normpath(cwd)
        if relative.split("/")[0] == "..":
            raise SandboxError(f"{cwd!r} is outside the workspace; commands start in a folder of it.")
        return self.root / relative


def _stopped(done: Finished, limits: Limits) -> str:
    """A line that names the limit which ended a command, if one did."""
    if done.exceeded:
        return f"\n[stopped, because {done.exceeded}]\n"
    if done.exit_code == 128 + signal.SIGXFSZ:
        return f"\n[stopped, because a file grew over {limits.file_bytes >> 20} MiB]\n"
    return ""


def _entries(found: list[list[Any]]) -> list[Entry]:
    return [Entry(path, kind, size) for path, kind, size in sorted(found)]


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _larger(folder: Path, limit: int) -> bool:
    total = 0
    for here, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # git removes its locks and temporary files
                total += os.lstat(os.path.join(here, name)).st_size
            if total > limit:
                return True
    return False
