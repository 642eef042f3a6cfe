"""The last line of `make run` says what ended it, and what to do."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import pytest

from agent.events import EXIT_CODES
from bench.demo import not_repaired

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("outcome", "said", "unsaid"),
    [
        ("limit", ["600 s", "loading the model not counted", "TIME_LIMIT=1200", "SEED=3"], []),
        ("unsolved", ["gave up", "SEED=3"], ["TIME_LIMIT"]),
        ("environment", ["ostro doctor"], ["SEED"]),
        ("fault", ["exit code 70"], ["SEED"]),
        (None, ["exit code 1", "above"], ["SEED"]),
    ],
)
def test_the_seed_is_blamed_only_where_it_may_be_why(
    outcome: str | None, said: list[str], unsaid: list[str]
) -> None:
    options = argparse.Namespace(seed=2, time_limit=600.0)
    line = not_repaired({"outcome": outcome} if outcome else {}, EXIT_CODES.get(outcome or "", 1), options)

    assert line and line.count("\n") == 0
    assert all(words in line for words in said) and not any(words in line for words in unsaid)
    assert not_repaired({"outcome": "done"}, 0, options) is None


def test_make_passes_the_time_on() -> None:
    argv = ["make", "--dry-run", "--always-make", "run", "SEED=4", "TIME_LIMIT=1200"]
    made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "-m bench.demo --seed 4 --time-limit 1200" in made
