"""What git's configuration names in the workspace: hooks in another folder, further files of settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sandbox.git_folders import head
from sandbox.git_guard import Guarded
from sandbox.launcher import Launcher
from sandbox.limits import Limits
from sandbox.policy import Policy

LIMITS = Limits(seconds=20, output_bytes=1_000_000)
_NAMES_SOMETHING = re.compile(rb"hookspath|\[\s*include", re.IGNORECASE)
ENVIRONMENT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}


async def configured(launcher: Launcher, policy: Policy, guarded: Iterable[Guarded]) -> list[str]:
    """Paths relative to the workspace, outside of git folders. Git itself is asked, inside: who else knows
    what it reads?"""
    found: set[str] = set()
    for place in guarded:
        if not place.is_folder or not _NAMES_SOMETHING.search(head(policy.root / place.path / "config")):
            continue
        argv = ["git", "-c", "safe.directory=*", f"--git-dir={policy.root / place.path}"]
        argv += ["config", "--list", "-z", "--show-origin", "--includes"]
        done = await launcher.run(policy, argv, cwd=policy.root, limits=LIMITS, env=ENVIRONMENT, merge=False)
        found.update(_in_workspace(done.stdout.bytes(), policy.root, place.path))
    return sorted(found)


def users_hooks(root: Path, guarded: Iterable[Guarded], folder: str) -> list[str]:
    """Where a folder of hooks lies that the user's own configuration names, for every working tree here."""
    marks = (root / place.path for place in guarded)
    trees = [mark.parent for mark in marks if mark.name == ".git"]
    return sorted({path for tree in trees for path in _below(root, tree / folder)})


def _in_workspace(listed: bytes, root: Path, git_folder: str) -> Iterator[str]:
    """The paths that a list of settings, each with the file that it is from, leads to."""
    words = [os.fsdecode(word) for word in listed.split(b"\0")]
    settings = [(origin.removeprefix("file:"), *entry.partition("\n")[::2]) for origin, entry in
                zip(words[::2], words[1::2], strict=False)]  # fmt: skip
    folder = root / git_folder
    tree = folder.parent if folder.name == ".git" else folder
    for _origin, key, value in settings:
        if key == "core.worktree":
            tree = folder / value
    for origin, key, value in settings:
        place = os.path.expanduser(value)
        if key.startswith("include") and key.endswith(".path"):
            yield from _below(root, (root / origin).parent / place)
        if key == "core.hookspath" and value:
            yield from _below(root, tree / place)


def _below(root: Path, path: Path) -> Iterator[str]:
    relative = os.path.relpath(os.path.normpath(path), root)
    if relative != "." and not {"..", ".git"} & set(relative.split("/")):
        yield relative
