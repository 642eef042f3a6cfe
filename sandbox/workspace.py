"""One tree of files, the repository itself or a fork, and all that may be done with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox import forks
from sandbox.aside import of_no_content, putting_aside, said_of
from sandbox.errors import SandboxError
from sandbox.files import Entry, Files
from sandbox.git_guard import Guarded, changed_since, intruders, locked, pins
from sandbox.history import History
from sandbox.launcher import Finished, Launcher
from sandbox.limits import Completed, Limits
from sandbox.network import Network
from sandbox.policy import Mount, Overlay, Policy
from sandbox.repository import Repository
from sandbox.scratch import Scratch, remove_tree
from sandbox.snapshots import Snapshots, Store
from sandbox.toolchain import workspace_venvs

NOTHING = Path("/dev/null")
LENT_INSIDE = Path("/run/ostro/lent")


@dataclass(eq=False)
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
    lent: Path
    """A folder of ours that can be read inside."""
    forks: set[Workspace]
    network: Network | None
    """The way to the hosts that are allowed, where there are any."""
    overlays: bool = True
    """Until one could not be made."""


class Workspace:
    """A working tree. Commands see it at `root`, whatever folder of the host holds it."""

    def __init__(
        self,
        room: Room,
        source: Path,
        mounts: Sequence[Mount | Overlay] = (),
        *,
        ground: Path | None = None,
    ) -> None:
        self._room = room
        self._source = source
        """Where the host finds the tree; of an overlay, what was written in it."""
        self._ground = ground or source
        """Of a fork, the folder to delete in the end."""
        self._overlay = next((mount for mount in mounts if isinstance(mount, Overlay)), None)
        self.root = source if room.launcher.bubblewrap is None else room.policy.root
        """The path of the tree as programs see it: the repository's own, for a fork as well."""
        mounts = list(mounts) or [forks.itself(source, self.root)]
        self._shared = mounts[1:]
        below = self._overlay.lower[-1] if self._overlay else source
        if below == room.policy.root:
            mounts += [Mount(NOTHING, path) for path in room.sockets]
        mounts.append(Mount(room.lent, LENT_INSIDE if room.launcher.bubblewrap else room.lent))
        held = tuple(pins(below, self.root, room.guarded))
        policy = replace(room.policy, root=self.root, pins=held).with_mounts(*mounts)
        self._policy = policy
        self._files = Files(room.launcher, policy)
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
    ) -> Completed:
        """Runs a program to its end; nothing it started survives it.

        `cwd` is relative to the workspace. `env` comes on top of the sandbox's own environment.
        Raises SandboxError where it could not be started at all; a missing program is exit code 127.
        """
        limits = self._room.limits.within(seconds)
        await self.connect()
        done = await self._room.launcher.run(
            self._policy,
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

    async def connect(self) -> None:
        """Opens the way to the allowed hosts, where there are any; else it opens at the first command.

        Raises SandboxError.
        """
        if self._room.network is not None:
            await self._room.network.ready(self._room.launcher, self._policy)

    async def _without_intruders(self) -> str:
        """Renames what would make git run programs and was not there before; a line that says so.

        Not deleted: the user may have made it meanwhile. Of a link or a pipe, the line says all there is.
        """
        if self._room.launcher.mechanism is None:
            return ""
        said = await self._opened_again()
        if self._room.launcher.bubblewrap is None:
            return said + self._changed_starters()
        found = intruders(self._source, self._room.guarded)
        if not found:
            return said
        told = {path: of_no_content(self._source / path) for path in found}
        # Inside, because a path in the repository may lead anywhere by now.
        free = {self.root / path for path in found}
        held = tuple(pin for pin in self._policy.pins if free.isdisjoint((pin.path, *pin.path.parents)))
        policy = replace(self._own_policy(), pins=held)
        done = await self._room.launcher.run(
            policy, putting_aside(found), cwd=self.root, limits=self._room.limits, merge=False
        )
        if left := intruders(self._source, self._room.guarded):
            raise SandboxError(
                f"A command made {left[0]}, which git would act on; remove it before you run git."
            )
        return said + said_of(done.stdout.bytes(), told)

    async def _opened_again(self) -> str:
        """Gives git's folders back to their owner, where a command has closed them; a line that says so.

        Else nothing could be held fast for the next command, and none would be run.
        """
        closed = locked(self._source, self._room.guarded)
        for path in closed:  # one by one, for each leads to the next
            opening = ["chmod", "u+rwx", "--", path]
            policy = replace(self._own_policy(), pins=())
            await self._room.launcher.run(policy, opening, cwd=self.root, limits=self._room.limits)
        return f"\n[opened again, because git needs it: {', '.join(closed)}]\n" if closed else ""

    def _own_policy(self) -> Policy:
        """For a program of Ostro's own in the sandbox of the commands, with less held fast than for them."""
        return self._policy.for_own_programs(self._room.policy.root)

    def lend(self, name: str, content: bytes) -> Path:
        """Lays a file of Ostro's where programs inside can read it, and says where that is for them."""
        place = self._room.lent / name
        if not place.exists() or place.read_bytes() != content:
            place.parent.mkdir(exist_ok=True)
            new = place.with_name(f"{place.name}.new")
            new.write_bytes(content)
            new.replace(place)
        return (self._room.lent if self._room.launcher.bubblewrap is None else LENT_INSIDE) / name

    def _changed_starters(self) -> str:
        """Where nothing is bound, git's files can be changed: a line that says so, again and again."""
        changed = changed_since(self._source, self._room.guarded)
        if not changed or self._source != self._room.policy.root:
            return ""
        return f"\n[changed, and git acts on it: {', '.join(changed)}; look at it before you run git]\n"

    async def read(self, path: str) -> bytes:
        """A regular file's content. Raises FileProblem."""
        return (await self._files.ask({"op": "read", "path": path}))[1]

    async def write(self, path: str, data: bytes, *, expects: str | None = None) -> None:
        """Replaces (in one step, keeping its mode) or creates a file and its folders. Raises FileProblem.

        `expects` is the `version` of what the caller has seen there: a file that changed meanwhile stays.
        """
        await self._files.ask({"op": "write", "path": path, "expects": expects}, data)

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
        async with self._recorder() as snapshots:
            names = await snapshots.visible(prefix.rstrip("/"))
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
        async with self._recorder() as snapshots:
            return await snapshots.record(like)

    async def diff(self, a: str, b: str) -> str:
        """`git diff --binary` from snapshot `a` to snapshot `b`, fit for `git apply`.

        Permissions but the executable bit, empty folders and inner git folders are not in it.
        """
        async with self._recorder() as snapshots:
            return await snapshots.diff(a, b)

    async def changed(self, a: str, b: str, *, exact: bool = False) -> list[str]:
        """The paths that differ between two snapshots; with `exact`, also in what no patch can show."""
        async with self._recorder() as snapshots:
            return await snapshots.changed(a, b, exact=exact)

    async def restore(
        self, tree: str, paths: Sequence[str] | None = None, *, expects: str | None = None
    ) -> str:
        """Puts files back as they are in snapshot `tree`, all of them or `paths` (files or folders).

        A file that the snapshot does not have is deleted, unless it is ignored. The id of what was there
        before. Raises SandboxError (SnapshotMissing where the snapshot is not kept any more, ChangedMeanwhile
        where what would be overwritten is not as the snapshot `expects` has it).
        """
        async with self._recorder() as snapshots:
            return await snapshots.restore(tree, paths, expects)

    @contextlib.asynccontextmanager
    async def _recorder(self) -> AsyncIterator[Snapshots]:
        """The snapshots of this tree, for one use at a time."""
        async with self._turn:
            if self._overlay is None:
                yield self._snapshots
                return
            # What writes to an overlay may be mounted but once: a second mount would not see what the first
            # one changes. So commands and the recorder, in sandboxes of their own, take turns.
            await self.close()
            try:
                yield self._snapshots
            finally:
                await self._room.launcher.release(self._snapshots.policy)

    def notes(self) -> list[str]:
        """Sentences for the user about what no snapshot holds: ignored files that a command destroyed."""
        return self._snapshots.notes()

    async def fork(self) -> Workspace:
        """A copy of the tree as it is now, seen by its commands at the same path.

        As an overlay, where the kernel and bubblewrap let: then a file that neither side has written since
        is still the same one. Else as a copy (see `sandbox.forks`).
        """
        if self._overlay is None and (fork := await self._overlaid()) is not None:
            return fork
        return await self._copied()

    async def discard(self) -> None:
        """Ends a fork: what runs in it stops and its files are deleted. The repository itself stays."""
        await self.close()
        if self not in self._room.forks:
            return
        self._room.forks.discard(self)
        await asyncio.to_thread(remove_tree, self._ground)

    def history(self, repository: Repository) -> History:
        """Git of the repository whose tree this is."""
        return History(self._room.launcher, self._policy, repository, self._room.store.user_excludes)

    async def close(self) -> None:
        """Ends what still runs in it."""
        await self._files.close()
        await self._room.launcher.release(self._policy)

    async def _overlaid(self) -> Workspace | None:
        """None where overlays cannot be had here."""
        room = self._room
        if room.launcher.bubblewrap is None or not room.overlays:
            return None
        ground = room.scratch.folder("fork")
        overlay = forks.overlay(self._policy.mounts[0], self._source, ground)
        fork = Workspace(room, ground / forks.UPPER, [overlay], ground=ground)
        try:
            await room.launcher.stand(fork._policy)
        except SandboxError:
            room.overlays = False
            await asyncio.to_thread(remove_tree, ground)
            return None
        except BaseException:
            await asyncio.to_thread(remove_tree, ground)
            raise
        room.forks.add(fork)
        return fork

    async def _copied(self) -> Workspace:
        room, ground = self._room, self._room.scratch.folder("fork")
        # A copy's copy shares with the same original.
        shared = self._shared or ([] if self._overlay else forks.shared(self._source, self.root))
        if room.launcher.bubblewrap is None:
            shared = []  # without mounts nothing can be
        seen = self._policy
        if self._overlay is not None:
            # Its upper folder is in use: looked at from elsewhere, it has to be one of the lower ones.
            seen = replace(seen, mounts=tuple(map(forks.read_only, seen.mounts)))
        try:
            bare = [mount.target.name for mount in shared]
            await forks.copy(room.launcher, seen, ground, bare, room.limits.disk_bytes)
            place = self.root if room.launcher.bubblewrap else ground
            fork = Workspace(room, ground, [Mount(ground, place, writable=True), *shared], ground=ground)
            # Before another command can put a link in the place of what is shared.
            await room.launcher.stand(fork._policy)
        except BaseException:
            await asyncio.to_thread(remove_tree, ground)
            raise
        room.forks.add(fork)
        return fork

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
