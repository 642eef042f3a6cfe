"""Takes each protection of the sandbox out of a copy of this tree: does a test notice?

    python -m bench.mutation_check [--list] [--only NAME ...] [--again]

With only the layers off that cover for a protection, its tests have to pass; with the protection gone as
well, at least one has to fail, by an assertion. The table is `bench.protections`. What was found for the same
code is kept in bench/results and not run again (`--again` does). A row that no longer fits the code is stale,
and a failure in the end. With CI set, a protection whose tests are all skipped is a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import psutil

from bench.protections import HOUSE, NO_PROBE, PROTECTIONS, Change, Protection

ROOT = Path(__file__).parents[1]
COPIED = (*HOUSE, "tests", "bench")
RESULTS = ROOT / "bench" / "results" / "mutation_check.json"
TEST_SECONDS = 60
SET_CHILD_SUBREAPER = 36
BY_ASSERTION = ("AssertionError", "assert ", "Failed: ")
"""How the message of a failure begins that a test meant; anything else is a mutant that does not run."""
HANGS = ("Failed: Timeout (>", "TimeoutError")
"""And of one that came to no end, by pytest-timeout or its own."""

Verdict = Literal["noticed", "not here", "NOT NOTICED", "proves nothing", "stale"]


class Stale(Exception):
    """A row no longer fits the code; in a sentence, what to correct."""


@dataclass(frozen=True)
class Outcome:
    """Of one run of tests, by their names."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    """By an assertion."""
    broken: tuple[str, ...]
    """Failed in another way, or did not come to run."""
    hung: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


class Copy:
    """This tree once more, whose rooms may be changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for room in COPIED:
            self._take(room)
        for file in ("pyproject.toml", "ostro.py"):
            shutil.copy(ROOT / file, folder / file)
        # An installed Ostro leads to the original tree.
        found = self._python("-c", "import sandbox; print(sandbox.__file__)").strip()
        if not Path(found).is_relative_to(folder):
            raise RuntimeError(f"Tests in the copy would import {found}.")

    def run(self, changes: Iterable[Change], tests: Sequence[str]) -> Outcome:
        """Runs tests with these changes. Raises Stale."""
        for room in HOUSE:
            shutil.rmtree(self._folder / room)
            self._take(room)
        for change in changes:
            make(change, self._folder)
        report = self._folder / "report.xml"
        report.unlink(missing_ok=True)
        self._python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS}",
            f"--junitxml={report}", *map(path_of_test, tests),
        )  # fmt: skip
        _end_what_is_left()
        return read_report(report)

    def _take(self, room: str) -> None:
        left_out = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / room, self._folder / room, ignore=left_out)

    def _python(self, *argv: str) -> str:
        """Runs a Python in the copy; what it printed, at its end."""
        # CI: without a sandbox a test fails instead of being skipped.
        environment = {**os.environ, "CI": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        # No pipe: what a mutant leaves running would hold it open.
        with tempfile.TemporaryFile("w+") as said:
            subprocess.run(
                [sys.executable, *argv], cwd=self._folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False,
            )  # fmt: skip
            said.seek(0)
            return said.read()


def make(change: Change, tree: Path) -> None:
    """Raises Stale where its text is not in the file exactly once."""
    file = tree / change.path
    if not file.is_file():
        raise Stale(f"there is no {change.path}: correct bench/protections/.")
    text = file.read_text()
    if (count := text.count(change.text)) != 1:
        raise Stale(f"{change.path} has {change.text!r} {count} times: correct bench/protections/.")
    file.write_text(text.replace(change.text, change.instead))


def path_of_test(test: str) -> str:
    """What pytest is told: a file of tests/sandbox/ where no other folder is named."""
    return test if test.startswith("tests/") else f"tests/sandbox/{test}"


def read_report(report: Path) -> Outcome:
    if not report.exists():
        return Outcome((), (), ("pytest itself",))
    kinds: dict[str, list[str]] = {name: [] for name in ("passed", "failed", "broken", "hung", "skipped")}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds[_kind(case)].append(case.get("name") or "")
    return Outcome(**{kind: tuple(names) for kind, names in kinds.items()})


def _kind(case: ElementTree.Element) -> str:
    """How a test ended, by the name of the field of Outcome."""
    failure = case.find("failure")
    message = "" if failure is None else failure.get("message") or ""
    if message.startswith(HANGS):
        return "hung"
    if message.startswith(BY_ASSERTION):
        return "failed"
    if failure is not None or case.find("error") is not None:
        return "broken"
    return "passed" if case.find("skipped") is None else "skipped"


class Check:
    """Protections of one copy, one after the other."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._before: dict[tuple[tuple[Change, ...], tuple[str, ...]], Outcome] = {}

    def look(self, protection: Protection) -> tuple[Verdict, str]:
        """What came of it, and the tests that say so, or what to correct."""
        try:
            return self._look(protection)
        except Stale as problem:
            return "stale", str(problem)

    def _look(self, protection: Protection) -> tuple[Verdict, str]:
        off = protection.others_off if protection.probe else (NO_PROBE, *protection.others_off)
        key = off, protection.tests
        if key not in self._before:
            self._before[key] = self._copy.run(*key)
        before = self._before[key]
        if wrong := (*before.failed, *before.broken, *before.hung):
            return "proves nothing", f"fails already without it: {', '.join(wrong)}"
        if not before.passed and not before.skipped:
            return "proves nothing", "there is no such test"
        if not before.passed:
            return "not here", "this machine has nothing to protect: its tests are skipped"
        after = self._copy.run((*off, *protection.remove), protection.tests)
        if noticed := (*after.failed, *(after.hung if protection.ends_in_time else ())):
            return "noticed", ", ".join(noticed)
        if after.broken or after.hung:
            return "proves nothing", f"the mutant does not run: {', '.join((*after.broken, *after.hung))}"
        return "NOT NOTICED", ", ".join(after.passed)


def fingerprint(protection: Protection) -> str:
    """Of all that its result depends on; of the rooms above the sandbox only where it names one of them."""
    digest = hashlib.sha256(repr((NO_PROBE, protection)).encode())
    for file in (ROOT / "pyproject.toml", Path(__file__), *sorted((ROOT / "tests").glob("*.py"))):
        digest.update(file.read_bytes())
    named = {*(change.path for change in protection.remove), *map(path_of_test, protection.tests)}
    above = any("sandbox" not in name.split("/")[:2] for name in named)
    for room in HOUSE if above else ("sandbox",):
        for folder in (ROOT / room, ROOT / "tests" / room):
            for file in sorted(folder.rglob("*.py")):
                digest.update(file.read_bytes())
    return digest.hexdigest()


Found = dict[str, tuple[str, Verdict, str]]
"""By a protection's name: its fingerprint, the verdict, and why."""


def _known(protections: Sequence[Protection]) -> Found:
    """What was found for these as they are now."""
    try:
        kept = json.loads(RESULTS.read_text())
    except (OSError, ValueError):
        return {}
    now = {protection.name: fingerprint(protection) for protection in protections}
    # An earlier version kept other things: they count as nothing.
    rows = {name: what for name, what in kept.items() if isinstance(what, list)}
    return {name: tuple(what) for name, what in rows.items() if what[0] == now.get(name)}


def _keep(found: Found) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    new = RESULTS.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1))
    new.replace(RESULTS)


def adopt_orphans() -> None:
    """What outlives its test becomes this process's child, so that it can be ended and nobody else's is."""
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_what_is_left() -> None:
    left = psutil.Process().children(recursive=True)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)


def chosen(names: Sequence[str]) -> list[Protection]:
    """Those with these names, all where there are none. Exits with 2 where one is not known."""
    unknown = set(names) - {protection.name for protection in PROTECTIONS}
    if unknown:
        print(f"There is no protection {min(unknown)!r}; --list names those there are.", file=sys.stderr)
        sys.exit(2)
    return [protection for protection in PROTECTIONS if not names or protection.name in names]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.mutation_check", description=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    protections = chosen(options.only)
    if options.list:
        print("\n".join(protection.name for protection in protections))
        return 0
    again = {protection.name for protection in protections} if options.again else set()
    found = {name: what for name, what in _known(PROTECTIONS).items() if name not in again}
    adopt_orphans()
    # Started in the background it would ignore it, and so would all that it tries.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="ostro-mutants-") as folder:
            os.chmod(folder, 0o755)
            check = Check(Copy(Path(folder)))
            for number, protection in enumerate(protections, 1):
                began = time.monotonic()
                if protection.name not in found:
                    found[protection.name] = (fingerprint(protection), *check.look(protection))
                    _keep(found)
                _, verdict, why = found[protection.name]
                seconds = f"{time.monotonic() - began:5.1f} s"
                print(
                    f"{number:3}/{len(protections)} {seconds}  {verdict:<14} {protection.name}: {why}",
                    flush=True,
                )
    except KeyboardInterrupt:
        _end_what_is_left()
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    return summed_up([found[protection.name][1] for protection in protections])


def summed_up(verdicts: Sequence[Verdict]) -> int:
    """Says how many are noticed, and how many could not be tried; the exit code."""
    # In CI everything has to be here: what is missing would hold nothing.
    here = [verdict for verdict in verdicts if verdict != "not here" or os.environ.get("CI")]
    print(f"{here.count('noticed')} of {len(here)} protections are noticed when they are gone.")
    if stale := here.count("stale"):
        print(f"{stale} of them no longer fit the code; correct their rows in bench/protections/.")
    return 0 if set(here) <= {"noticed"} else 1


if __name__ == "__main__":
    sys.exit(main())
