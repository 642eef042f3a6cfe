"""Reads what a test command printed: pytest in any of its styles, unittest, or a bare traceback."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import islice

from tools import junit, unittest_report
from tools.plain_text import plain
from tools.report import Failure, Frame, TestReport
from tools.traceback_frames import Where, frames, native_error

__all__ = ["Failure", "Frame", "TestReport", "parse_report"]

_RULE = re.compile(r"^=+ (?P<title>.+?) =+$")
_HEADING = re.compile(r"^_+ (?P<title>.+?) _+$")
_CAPTURED = re.compile(r"^-+ (?:Captured|generated) .*-+$")
_SUMMARY = re.compile(r"^(?:FAILED|ERROR|SUBFAIL(?:ED)?(?:\[.*?\])?(?: ?\(.*?\))?) (?P<rest>\S.*)$")
_PROGRESS = re.compile(
    r"^(?:(?P<first>\S.*::.*?) (?:FAILED|ERROR)(?:\s+\[ *\d+%\])?"
    r"|\[gw\d+\] \[ *\d+%\] (?:FAILED|ERROR) (?P<later>\S.*?))\s*$"
)
_COUNTS = re.compile(r"^(?:=+ )?(?P<counts>\d+ [a-z ]+(?:, \d+ [a-z ]+)*) in \d+[.\d]*s\b")
_COUNT = re.compile(r"(\d+) (failed|passed|skipped|xfailed|xpassed|errors?)\b")
_NOTHING = re.compile(r"^(?:=+ )?no tests (?:ran|collected)\b")
_STOPPED = re.compile(r"^!+ (?P<why>.+?) !+$")
_LINE_STYLE = re.compile(r"^(?P<place>[^\s:][^:]*:\d+): (?P<error>\S.*)$")
_CONFTEST = re.compile(r"^ImportError while loading conftest ")
_USAGE = re.compile(r"^ERROR: (?P<why>.+)$")
_INTERNAL = "INTERNALERROR> "
_SECTIONS = ("FAILURES", "ERRORS")
_TITLES = ("test session starts", "short test summary info")

_FAILURES_KEPT = 50
_ERROR_LINES = 20
_CUTS_TRIED = 40


def parse_report(
    output: str, junit_xml: bytes | None = None, *, root: str = "", cwd: str = "."
) -> TestReport:
    """The outcome of the tests in `output`, whatever runner printed it; never fails.

    `root` is the repository's absolute path as the command saw it, so that absolute paths in tracebacks
    can be told to be in it; `cwd` is where the command ran, relative to that. What the text does not
    tell is taken from `junit_xml`.
    """
    lines = plain(output).split("\n")
    where = Where(root=root, cwd=cwd)
    if _is_pytest(lines):
        report = _pytest(lines, where)
    elif unittest_report.is_unittest(lines):
        report = unittest_report.parse(lines, where)
    else:
        report = _bare(lines, where)
    return junit.complete(report, junit_xml, where) if junit_xml else report


def _is_pytest(lines: list[str]) -> bool:
    return any(
        line.startswith((_INTERNAL, "ERROR: file or directory not found: ", "ERROR: not found: "))
        or _CONFTEST.match(line)
        or _COUNTS.match(line)
        or _NOTHING.match(line)
        or ((rule := _RULE.match(line)) and rule["title"] in _TITLES)
        for line in lines
    )


def _pytest(lines: list[str], where: Where) -> TestReport:
    sections = list(_sections(lines))
    told = [failure for title, body in sections for failure in _told(title, body, where)]
    summary = list(_summary(lines, {failure.name for failure in told}))
    failing = [test_id for test_id, _ in summary] or _in_progress(lines) or _from_headings(told)
    failures = (told or _untold(lines, summary, where))[:_FAILURES_KEPT]
    counted = any(_COUNTS.match(line) for line in lines)
    counts = _counts(lines)
    first = next((f for f in failures if not f.name.startswith("ERROR at teardown")), None)
    first = first or (failures[0] if failures else None)
    return TestReport(
        runner="pytest",
        failing=list(dict.fromkeys(failing)),
        passed=counts.get("passed", 0) if counted else None,
        failed=counts.get("failed", 0) if counted else None,
        errors=counts.get("error", 0) if counted else None,
        skipped=counts.get("skipped", 0) if counted else None,
        failures=failures,
        first_error=first.error if first else "",
        frames=list(first.frames) if first else [],
        collected_none=any(_NOTHING.match(line) for line in lines) or (counted and not counts),
        stopped=_stopped(lines),
    )


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each test's part of FAILURES and ERRORS with its heading; "" heads what stands before the first."""
    inside, title, body = False, "", []
    for line in lines:
        rule = _RULE.match(line)
        if rule or (inside and _COUNTS.match(line)):
            if inside:
                yield title, body
            inside, title, body = bool(rule) and rule["title"] in _SECTIONS, "", []
            continue
        heading = _HEADING.match(line)
        if inside and heading and set(line) != {"_", " "}:
            yield title, body
            title, body = heading["title"], []
            continue
        body.append(line)
    if inside:
        yield title, body


def _told(title: str, body: list[str], where: Where) -> list[Failure]:
    """One failure for a headed part; what stands before the first heading are the lines of --tb=line."""
    if title:
        return [_failure(title, body, where)]
    hits = [hit for line in body if (hit := _LINE_STYLE.match(line))]
    return [
        Failure(name=hit["place"], error=hit["error"], frames=tuple(frames([hit[0]], where))) for hit in hits
    ]


def _failure(title: str, body: list[str], where: Where) -> Failure:
    cut = next((number for number, line in enumerate(body) if _CAPTURED.match(line)), len(body))
    body = body[:cut]
    return Failure(name=title, error=_error(body), frames=tuple(frames(body, where)))


def _error(body: list[str]) -> str:
    """What went wrong: the last block of `E` lines, else a traceback's last words, else the last lines."""
    marked = [line == "E" or line.startswith("E  ") for line in body]
    if any(marked):
        end = len(marked) - marked[::-1].index(True)
        start = end - 1
        while start > 0 and marked[start - 1]:
            start -= 1
        text = textwrap.dedent("\n".join(line[1:] for line in body[start:end]))
    else:
        text = native_error(body) or "\n".join([line for line in body if line.strip()][-8:])
    return _short(text)


def _short(text: str) -> str:
    lines = [line.rstrip() for line in text.strip("\n").split("\n")]
    return "\n".join(lines if len(lines) <= _ERROR_LINES else [*lines[:_ERROR_LINES], "…"])


def _summary(lines: list[str], headings: set[str]) -> Iterator[tuple[str, str]]:
    """Ids and messages of pytest's short test summary."""
    inside = False
    for line in lines:
        if rule := _RULE.match(line):
            inside = rule["title"] == "short test summary info"
        elif inside and (hit := _SUMMARY.match(line)):
            yield _split(hit["rest"], headings)


def _split(rest: str, headings: set[str]) -> tuple[str, str]:
    """`ID - message`, where the id itself may hold " - " in its parameters."""
    cuts = [hit.start() for hit in islice(re.finditer(" - ", rest), _CUTS_TRIED)] + [len(rest)]
    for cut in cuts:
        _, _, test = rest[:cut].partition("::")
        name, bracket, parameters = test.partition("[")
        if name and name.replace("::", ".") + bracket + parameters in headings:
            return rest[:cut], rest[cut + 3 :]
    for cut in cuts:
        if rest[:cut].count("[") == rest[:cut].count("]"):
            return rest[:cut], rest[cut + 3 :]
    return rest[: cuts[0]], rest[cuts[0] + 3 :]


def _in_progress(lines: list[str]) -> list[str]:
    """Failing ids from the lines of a verbose run that never reached its summary."""
    return [hit["first"] or hit["later"] for line in lines if (hit := _PROGRESS.match(line))]


def _from_headings(failures: list[Failure]) -> list[str]:
    """Ids put together from headings and frames, where a run printed no summary."""
    found: list[str] = []
    for failure in failures:
        name = re.sub(r"^ERROR (?:at (?:setup|teardown) of|collecting) ", "", failure.name)
        if failure.name.startswith("ERROR collecting "):
            found.append(name)
        elif failure.frames:
            path, bracket, parameters = name.partition("[")
            found.append(f"{failure.frames[0].file}::{path.replace('.', '::')}{bracket}{parameters}")
    return found


def _untold(lines: list[str], summary: list[tuple[str, str]], where: Where) -> list[Failure]:
    """Where no test has a part of its own: --tb=no, a broken conftest, an internal error, wrong usage."""
    if summary:
        return [Failure(name=test_id, error=message, frames=()) for test_id, message in summary]
    internal = [line.removeprefix(_INTERNAL) for line in lines if line.startswith(_INTERNAL.rstrip())]
    if internal:
        return [_failure("INTERNALERROR", internal, where)]
    start = next((number for number, line in enumerate(lines) if _CONFTEST.match(line)), None)
    if start is not None:
        return [_failure("conftest", lines[start:], where)]
    wrong = [hit["why"] for line in lines if (hit := _USAGE.match(line))]
    return [Failure(name="usage", error="\n".join(wrong), frames=())] if wrong else []


def _counts(lines: list[str]) -> dict[str, int]:
    """The outcomes that the last line counts; empty where it counts only deselected tests or warnings."""
    line = next((hit["counts"] for line in reversed(lines) if (hit := _COUNTS.match(line))), "")
    return {word.removesuffix("s") if word == "errors" else word: int(n) for n, word in _COUNT.findall(line)}


def _stopped(lines: list[str]) -> str:
    if any(line.startswith(_INTERNAL.rstrip()) for line in lines):
        return "pytest itself failed (INTERNALERROR)"
    return next((hit["why"] for line in lines if (hit := _STOPPED.match(line))), "")


def _bare(lines: list[str], where: Where) -> TestReport:
    """Not a runner we know: the first traceback, or else the first place that a compiler would name."""
    found = frames(lines, where)
    error = native_error(lines)
    if not error:
        error = next((line for line in lines if _LINE_STYLE.match(line)), "")
    failures = [Failure(name="", error=_short(error), frames=tuple(found))] if error else []
    return TestReport(failures=failures, first_error=_short(error), frames=found if error else [])
