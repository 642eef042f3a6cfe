"""Runs part of a command: the same pytest command with chosen tests in the place of its paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

QUIET = {"PYTHONDONTWRITEBYTECODE": "1"}
"""A candidate may have the size and second of the file before it: bytecode kept by Python would be stale."""

_WITH_VALUE = {
    "-k", "-m", "-p", "-c", "-o", "-n", "-W", "-r", "--rootdir", "--tb", "--maxfail", "--ignore",
    "--deselect", "--ignore-glob", "--confcutdir", "--basetemp", "--junitxml", "--junit-xml", "--durations",
    "--capture",
    "--color", "--import-mode", "--cov-report", "--cov-config", "--timeout", "--log-level",
    "--log-cli-level",
    "--show-capture", "--override-ini", "--config-file", "--log-file", "--assert", "--dist", "--numprocesses",
    "--randomly-seed", "--reruns", "--count", "--hypothesis-seed", "--hypothesis-profile", "--asyncio-mode",
}  # fmt: skip
_CACHE_OPTIONS = {"--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first", "--cache-clear",
                  "--sw", "--stepwise", "--sw-skip", "--stepwise-skip", "--cache-show"}  # fmt: skip


@dataclass(frozen=True)
class PytestCommand:
    """A command line that runs pytest, taken apart."""

    head: tuple[str, ...]
    """Up to and with `pytest`."""
    options: tuple[str, ...]
    paths: tuple[str, ...]

    def select(self, node_ids: Iterable[str], *, stop_at_first: bool = False) -> list[str]:
        """The same command for these tests (or files) only, writing no cache."""
        options = list(self.options)
        if not _CACHE_OPTIONS.intersection(option.split("=")[0] for option in options):
            options += ["-p", "no:cacheprovider"]
        if stop_at_first:
            options.append("-x")
        return [*self.head, *options, *(node_ids or self.paths)]


def pytest_command(command: Sequence[str]) -> PytestCommand | None:
    """None where the words do not show a pytest run (a script, `make test`, `sh -c …`)."""
    at = _pytest_word(command)
    if at is None:
        return None
    options: list[str] = []
    paths: list[str] = []
    words = list(command[at + 1 :])
    while words:
        word = words.pop(0)
        if word == "--":
            paths.extend(words)
            break
        if not word.startswith("-"):
            paths.append(word)
            continue
        options.append(word)
        if word in _WITH_VALUE and words:
            options.append(words.pop(0))
    return PytestCommand(tuple(command[: at + 1]), tuple(options), tuple(paths))


def _pytest_word(command: Sequence[str]) -> int | None:
    for at, word in enumerate(command):
        name = PurePosixPath(word).name
        if name in ("sh", "bash", "dash", "zsh", "make", "tox", "nox"):
            return None
        if word == "-m" and at + 1 < len(command) and at > 0:
            return at + 1 if command[at + 1] == "pytest" else None
        if name in ("pytest", "py.test", "pytest.exe"):
            return at
    return None


def is_unittest(command: Sequence[str]) -> bool:
    return any(a == "-m" and b == "unittest" for a, b in pairwise(command))


def spread(failing: Sequence[str], most: int) -> list[str]:
    """At most so many failing tests, as different from each other as their names: other functions first."""
    by_function: dict[str, list[str]] = {}
    for node_id in failing:
        by_function.setdefault(node_id.split("[")[0], []).append(node_id)
    chosen: list[str] = []
    groups: Mapping[str, list[str]] = by_function
    for round_ in range(max((len(group) for group in groups.values()), default=0)):
        for group in groups.values():
            if round_ < len(group) and len(chosen) < most:
                chosen.append(group[round_])
    return chosen
