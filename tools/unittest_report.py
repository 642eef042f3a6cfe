"""Reads what unittest printed, and the runners that print the same way (nose, Django's)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from tools.report import Failure, TestReport
from tools.traceback_frames import Where, frames, native_error

_THICK = re.compile(r"^={60,}$")
_THIN = re.compile(r"^-{60,}$")
_HEAD = re.compile(r"^(?:FAIL|ERROR): (?P<what>.+)$")
_NAMED = re.compile(r"^(?P<name>\S+) \((?P<place>[\w.<>]+)\)")
_RAN = re.compile(r"^Ran (?P<count>\d+) tests? in ")
_VERDICT = re.compile(r"^(?:FAILED|OK|NO TESTS RAN)(?: \((?P<counts>.+)\))?$")
_COUNT = re.compile(r"(failures|errors|skipped|expected failures|unexpected successes)=(\d+)")
_FAILURES_KEPT = 50


def is_unittest(lines: list[str]) -> bool:
    return any(_RAN.match(line) for line in lines) or any(
        _THICK.match(line) and _HEAD.match(after) for line, after in pairwise(lines)
    )


def parse(lines: list[str], where: Where) -> TestReport:
    parts = list(_parts(lines))
    failures = [
        Failure(name=name, error=native_error(body), frames=tuple(frames(body, where)))
        for name, body in parts[:_FAILURES_KEPT]
    ]
    ran = next((int(hit["count"]) for line in reversed(lines) if (hit := _RAN.match(line))), None)
    verdict = next((hit["counts"] or "" for line in reversed(lines) if (hit := _VERDICT.match(line))), "")
    counts = {name: int(count) for name, count in _COUNT.findall(verdict)}
    failed = counts.get("failures", 0) + counts.get("unexpected successes", 0)
    errors, skipped = counts.get("errors", 0), counts.get("skipped", 0)
    other = failed + errors + skipped + counts.get("expected failures", 0)
    return TestReport(
        runner="unittest",
        failing=list(dict.fromkeys(_test_id(name) for name, _ in parts)),
        passed=None if ran is None else max(0, ran - other),
        failed=None if ran is None else failed,
        errors=None if ran is None else errors,
        skipped=None if ran is None else skipped,
        failures=failures,
        first_error=failures[0].error if failures else "",
        frames=list(failures[0].frames) if failures else [],
        collected_none=ran == 0 and not parts,
    )


def _parts(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each failing test's heading and its traceback."""
    name, body, rules = "", [], 0
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        heading = _HEAD.match(after) if _THICK.match(line) else None
        rules += bool(_THIN.match(line))
        if name and (heading or rules == 2):  # the second thin rule ends the last part
            yield name, body
            name = ""
        if heading:
            name, body, rules = heading["what"], [], 0
        elif name:
            body.append(line)
    if name:
        yield name, body


def _test_id(what: str) -> str:
    """The dotted name that `python -m unittest` takes."""
    hit = _NAMED.match(what)
    if hit is None:
        return what
    name, place = hit["name"], hit["place"]
    if "_FailedTest" in place or name in ("setUpModule", "tearDownModule"):
        return name if "_FailedTest" in place else place
    if name in ("setUpClass", "tearDownClass") or place.endswith("." + name):
        return place
    return f"{place}.{name}"
