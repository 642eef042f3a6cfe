"""Judges what an agent left behind, by content alone: nothing it wrote but the broken file is run."""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
from pathlib import Path

from pydantic import BaseModel

from bench.building import Task, judge_of, repository_of
from bench.suite import run_suite

TRACES = (".git", "__pycache__", "*.pyc", ".pytest_cache", ".hypothesis", ".aider*", "*.egg-info")
"""What running tests or an agent leaves behind, and no patch holds."""


class Judgement(BaseModel):
    plausible: bool
    """All that the agent saw passes, and only the broken file was changed."""
    right: bool
    """The hidden tests pass too."""
    changed: list[str]
    """Files that differ from what the agent got."""


def judge(task: Task, folder: Path, work: Path) -> Judgement:
    """Judge the tree `work` that an agent made of the task's repository."""
    changed = changed_files(repository_of(folder), work)
    if changed != [task.file] or not (work / task.file).is_file():
        return Judgement(plausible=False, right=False, changed=changed)
    answer = (work / task.file).read_bytes()
    plausible = _passes(task, repository_of(folder), answer, at_least=1)
    right = plausible and _passes(task, judge_of(folder), answer, at_least=task.passed)
    return Judgement(plausible=plausible, right=right, changed=changed)


def changed_files(before: Path, after: Path) -> list[str]:
    """Files added, removed or different, relative, sorted; links count by where they point."""
    old, new = _contents(before), _contents(after)
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def _contents(root: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_trace(name)]
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for path in (Path(place) / name for name in [*files, *links] if not _is_trace(name)):
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(root))] = content
    return found


def _is_trace(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in TRACES)


def _passes(task: Task, place: Path, answer: bytes, at_least: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="ostro-judge-") as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(place, tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        (tree / task.file).write_bytes(answer)
        run = run_suite(tree, task.command, task.limit)
        return run.green and run.passed >= at_least
