"""Lets an agent work on a task: Ostro itself, or any other by its command line."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from bench.suite import environment, run_group

GRACE = 60.0
"""Seconds past its limit before an agent that does not stop is killed."""
LOADING = 300.0
"""Seconds more for Ostro, whose limit stands still while it loads the model, which the first task has to."""
PROMPT = (
    "The command `{command}` fails: one line of the source code holds a bug. "
    "Find it and correct it, so that the command passes. Change no test."
)
OSTRO = Path(__file__).parent.parent


class Attempt(BaseModel):
    """What an agent said of its own work."""

    seconds: float
    exit_code: int | None
    """None where it was killed."""
    outcome: str | None = None
    reason: str = ""
    verified: bool | None = None
    steps: int | None = None
    tokens: dict[str, int] = {}
    trials: int | None = None
    """Candidate patches that were put to the tests."""


def ostro(repo: Path, command: Sequence[str], model: str | None, seconds: float, log: Path) -> Attempt:
    """`ostro fix --json`; all it prints goes to `log`, its `end` event is read."""
    chosen = ["--model", model] if model else []
    argv = [sys.executable, "-m", "ostro", "fix", "--json", "--repo", str(repo), *chosen,
            "--time-limit", f"{seconds:g}", "--", *command]  # fmt: skip
    began = time.monotonic()
    # From the checkout, `-m ostro` finds it whether it is installed or not.
    exit_code, output = run_group(argv, OSTRO, seconds + LOADING + GRACE, environment())
    attempt = Attempt(seconds=time.monotonic() - began, exit_code=exit_code)
    log.write_text(output)
    events = list(_events(output))
    attempt.trials = sum(event.get("type") == "candidate" for event in events)
    for event in events:
        if event.get("type") == "end":
            attempt.outcome, attempt.reason = event["outcome"], event.get("reason", "")
            attempt.verified, attempt.steps = event["verified"], event["steps"]
            attempt.tokens = event["tokens"]
    return attempt


def other(template: str, repo: Path, command: Sequence[str], seconds: float, log: Path) -> Attempt:
    """Another agent: `template` is a command line with {repo}, {command} and {prompt}, run in `repo`.

    No shell reads it, so a placeholder stays one argument. It is killed once `seconds` are over.
    """
    words = {"repo": str(repo), "command": shlex.join(command)}
    words["prompt"] = PROMPT.format(command=words["command"])
    argv = [_filled(word, words) for word in shlex.split(template)]
    began = time.monotonic()
    exit_code, output = run_group(argv, repo, seconds, environment())
    log.write_text(output)
    return Attempt(seconds=time.monotonic() - began, exit_code=exit_code)


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def _events(output: str) -> list[dict]:
    found = []
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found
