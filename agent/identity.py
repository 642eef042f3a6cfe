"""Who commits: name and e-mail from the user's own git configuration, read once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agent.ending import EnvironmentProblem

READ_WITHIN = 20.0
"""Seconds."""
CRUD = re.compile(r"[\x00-\x20.,:;<>\"\\']+")
"""What git takes off the ends of a name; nothing may be left of it."""


@dataclass(frozen=True)
class Identity:
    name: str
    email: str


def identity(root: Path) -> Identity:
    """From the global configuration alone: neither the repository at `root` nor the environment may say who
    the user is. Git reads it outside of any repository. Raises EnvironmentProblem with what to do."""
    found = {key: _global(f"user.{key}", root) for key in ("name", "email")}
    if missing := [key for key, value in found.items() if not CRUD.sub("", value)]:
        say = " and ".join(f'`git config --global user.{key} "..."`' for key in missing)
        raise EnvironmentProblem(f"--commit needs your name and e-mail; set them with {say}.")
    return Identity(**found)


def _global(key: str, root: Path) -> str:
    """Empty where it is not set. A folder of the repository on PATH brings no `git` of its own here."""
    folders = [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(p)]
    safe = [p for p in folders if not Path(os.path.realpath(p)).is_relative_to(root)]
    git = shutil.which("git", path=os.pathsep.join(safe)) if safe else None
    if git is None:
        raise EnvironmentProblem("There is no `git` on PATH; install git.")
    kept = {"GIT_CONFIG_GLOBAL"}
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in kept}
    env |= {"GIT_DIR": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    argv = [git, "config", "--global", "--includes", "-z", "--get", key]
    try:
        done = subprocess.run(
            argv,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=READ_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise EnvironmentProblem(f"Your git configuration cannot be read ({problem}).") from None
    if done.returncode > 1:
        why = os.fsdecode(done.stderr).strip().splitlines()
        raise EnvironmentProblem(
            f"Your git configuration cannot be read ({why[-1] if why else 'git failed'})."
        )
    return os.fsdecode(done.stdout).rstrip("\0").strip()
