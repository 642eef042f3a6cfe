"""How a fork comes to its files: by an overlay over the workspace, or by a copy of it.

An overlay is there at once, whatever the size of the tree, and what is written stays in a folder of its own;
all of it may be written, virtual environments too. It takes bubblewrap 0.11, a kernel that lets a user
namespace mount one, and a file system for the upper folder that can hold it (not an overlay itself). A copy
takes time, so that large folders which tests only read are shared, read-only.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.launcher import Launcher
from sandbox.limits import Limits
from sandbox.policy import Mount, Overlay, Policy
from sandbox.supervisor import INSIDE, INSIDE_THERE
from sandbox.toolchain import own_python, workspace_venvs

UPPER, WORK = "upper", "work"
COPIER = "tree_copy.py"
COPY_INSIDE = Path("/run/ostro/fork")
COPY_LIMITS = Limits(seconds=600, file_bytes=1 << 40)
LARGEST_GIT = 64 << 20
"""Bytes of `.git` up to which a copy has its own; a larger one is shared, read-only."""
SHARED_FOLDERS = ("node_modules",)


def itself(source: Path, root: Path) -> Mount:
    """The repository, and no other folder that is at its path when a sandbox is built anew."""
    status = os.lstat(source)
    return Mount(source, root, writable=True, identity=(status.st_dev, status.st_ino))


def overlay(tree: Mount | Overlay, source: Path, ground: Path) -> Overlay:
    """Over the tree at `source`, seen where `tree` is; what is written goes below `ground`.

    Raises SandboxError where another tree is there by now: inside, nobody can tell what an overlay lies over.
    """
    now = _mount(source, tree.target)
    if isinstance(tree, Mount) and tree.identity and (now is None or now.identity != tree.identity):
        raise SandboxError(f"{source} was replaced meanwhile, or removed, so nothing was copied.")
    for name in (UPPER, WORK):
        (ground / name).mkdir()
    return Overlay((source,), tree.target, ground / UPPER, ground / WORK)


def read_only(mount: Mount | Overlay) -> Mount | Overlay:
    """The same files, for another sandbox to read while the first one stands."""
    if isinstance(mount, Overlay) and mount.upper is not None:
        return Overlay((*mount.lower, mount.upper), mount.target)
    return mount


async def copy(
    launcher: Launcher, policy: Policy, into: Path, bare: Sequence[str], disk_bytes: int | None
) -> None:
    """Copies the tree that the policy shows; the folders named in `bare` are made, but empty.

    Of the disk it takes no more than a command may. Raises SandboxError.
    """
    script, there = INSIDE_THERE / COPIER, COPY_INSIDE
    if launcher.bubblewrap is None:
        script, there = INSIDE / COPIER, into
    policy = policy.with_mounts(Mount(into, there, writable=True))
    limits = COPY_LIMITS.model_copy(update={"disk_bytes": disk_bytes})
    argv = [str(own_python()), "-I", "-S", "-X", "utf8", str(script), str(policy.root), str(there), *bare]
    try:
        done = await launcher.run(policy, argv, cwd=policy.root, limits=limits)
    finally:
        await launcher.release(policy)
    if done.exceeded:
        raise SandboxError(f"The workspace could not be copied: {done.exceeded}.")
    if done.exit_code != 0:
        why = done.stdout.text().strip().splitlines() or ["no reason given"]
        raise SandboxError(f"The workspace could not be copied: {why[-1]}.")


def shared(source: Path, root: Path) -> list[Mount]:
    """What a copy of `source` has in common with it."""
    names = [venv.name for venv in workspace_venvs(source)]
    names += [name for name in SHARED_FOLDERS if _is_folder(source / name)]
    if _is_folder(source / ".git") and _larger(source / ".git", LARGEST_GIT):
        names.append(".git")
    return [mount for name in names if (mount := _mount(source / name, root / name)) is not None]


def _mount(source: Path, target: Path) -> Mount | None:
    """None where there is no real folder (any more)."""
    try:
        status = os.lstat(source)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    return Mount(source, target, identity=(status.st_dev, status.st_ino))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _larger(folder: Path, limit: int) -> bool:
    total, waiting = 0, [str(folder)]
    while waiting:
        # git removes its locks and temporary files; a path can be too long to be looked at
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_size
                if total > limit:
                    return True
    return False
