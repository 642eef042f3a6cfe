"""The main job from the outside: the real models, the real sandbox, real git, one broken line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import GitRepo

BROKEN = '''\
def merge(left, right):
    """Merge two sorted lists into one sorted list."""
    merged = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    merged.extend(left[i:])
    merged.extend(right[i:])
    return merged
'''
TESTS = """\
from merging import merge


def test_interleaved():
    assert merge([1, 4, 6], [2, 3, 9]) == [1, 2, 3, 4, 6, 9]


def test_one_is_empty():
    assert merge([], [1, 2]) == [1, 2]
    assert merge([1, 2], []) == [1, 2]


def test_all_of_one_first():
    assert merge([1, 2], [5, 6, 7]) == [1, 2, 5, 6, 7]
"""


@pytest.mark.e2e
@pytest.mark.real_model
@pytest.mark.parametrize("size", ["small_model", "default_model"])
def test_a_broken_line_is_repaired_and_verified(
    size: str, git_repo: GitRepo, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model: Path = request.getfixturevalue(size)
    repo = git_repo({"merging.py": BROKEN, "test_merging.py": TESTS})
    command = ["python", "-m", "pytest", "-q", "--disable-plugin-autoload"]
    ostro = [sys.executable, "-m", "ostro", "fix", "--json", "--repo", str(repo), "--model", str(model)]
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "CI": "1"}

    ran = subprocess.run(
        [*ostro, "--time-limit", "240", "--", *command],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip

    events = [json.loads(line) for line in ran.stdout.splitlines()]
    end = events[-1]
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    assert [event["type"] for event in events].count("end") == 1
    assert (end["outcome"], end["verified"], end["changed_files"]) == ("done", True, ["merging.py"])
    before = (repo / "merging.py").read_text()
    assert before != BROKEN
    undo = subprocess.run(["git", "apply", "-R"], cwd=repo, input=end["patch"], text=True)
    assert undo.returncode == 0
    assert (repo / "merging.py").read_text() == BROKEN
