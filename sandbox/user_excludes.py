"""What the user never wants in any repository: git's global list of ignored names, which HOME hides inside.

Read once outside, as content: of the configuration only the place of the list, and no repository's word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sandbox.policy import caller_home
from sandbox.toolchain import path_outside

LARGEST = 1 << 20
READ_WITHIN = 20.0
"""Seconds."""


def user_excludes(environ: Mapping[str, str], root: Path) -> bytes:
    """Empty where there is none, or where it cannot be read: git does without it then, too."""
    place = user_setting(environ, root, "core.excludesFile")
    place = _usual(environ) if place is None else place
    if not os.path.isabs(place):
        return b""  # it would be looked for in the repository
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        if not os.path.isfile(fd):
            return b""
        with os.fdopen(fd, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(fd)
    return content if len(content) <= LARGEST else b""


def user_setting(environ: Mapping[str, str], root: Path, name: str) -> str | None:
    """A path in the user's own configuration; None where it names none."""
    git = shutil.which("git", path=path_outside(environ.get("PATH", os.defpath), root))
    if git is None:
        return None
    env = {k: v for k, v in environ.items() if not k.startswith("GIT_") or k == "GIT_CONFIG_GLOBAL"}
    env |= {"GIT_DIR": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    argv = [git, "config", "--global", "--includes", "--path", "-z", "--get", name]
    try:
        done = subprocess.run(
            argv, cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=READ_WITHIN,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout.rstrip(b"\0")) if done.returncode == 0 else None


def _usual(environ: Mapping[str, str]) -> str:
    config = environ.get("XDG_CONFIG_HOME") or caller_home(environ) / ".config"
    return os.path.join(config, "git", "ignore")
