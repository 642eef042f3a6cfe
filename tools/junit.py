"""Completes a report from the JUnit XML that a runner wrote beside its output."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tools.report import Failure, TestReport
from tools.traceback_frames import Where, frames

_LARGEST = 20_000_000
_ERROR_CHARACTERS = 2_000


def complete(report: TestReport, xml: bytes, where: Where) -> TestReport:
    """`report` with the counts, ids and first error that its text lacked; as it was for unreadable XML."""
    cases = _cases(xml)
    if not cases:
        return report
    broken = [(case, problem) for case in cases if (problem := _problem(case)) is not None]
    failures = [_failure(case, problem, where) for case, problem in broken]
    count = {kind: sum(problem.tag == kind for _, problem in broken) for kind in ("failure", "error")}
    skipped = sum(case.find("skipped") is not None for case in cases)
    update: dict[str, object] = {}
    if report.passed is None:
        update = {
            "passed": len(cases) - len(broken) - skipped,
            "failed": count["failure"],
            "errors": count["error"],
            "skipped": skipped,
        }
    if len(report.failing) < len(broken):
        update["failing"] = [_test_id(case, f) for (case, _), f in zip(broken, failures, strict=True)]
    if failures and not report.failures:
        update |= {
            "failures": failures,
            "first_error": failures[0].error,
            "frames": list(failures[0].frames),
        }
    return report.model_copy(update=update)


def _cases(xml: bytes) -> list[ElementTree.Element]:
    # No runner writes a document type; one that is there could only be meant to blow the parser up.
    if len(xml) > _LARGEST or b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        return []
    try:
        return list(ElementTree.fromstring(xml).iter("testcase"))
    except ElementTree.ParseError:
        return []


def _problem(case: ElementTree.Element) -> ElementTree.Element | None:
    return next((child for child in case if child.tag in ("failure", "error")), None)


def _failure(case: ElementTree.Element, problem: ElementTree.Element, where: Where) -> Failure:
    text = problem.text or ""
    message = problem.get("message") or text.strip()
    return Failure(
        name=case.get("name", ""),
        error=message[:_ERROR_CHARACTERS],
        frames=tuple(frames(text.split("\n"), where)),
    )


def _test_id(case: ElementTree.Element, failure: Failure) -> str:
    """pytest's node id: from the file that the case or its frames name, else from the dotted class name."""
    module, name = case.get("classname", ""), case.get("name", "")
    for file in filter(None, [case.get("file", ""), *(frame.file for frame in failure.frames)]):
        dotted = re.sub(r"\.\w+$", "", file).replace("/", ".")
        if module == dotted or module.startswith(dotted + "."):
            classes = module[len(dotted) + 1 :]
            return "::".join([file, *filter(None, classes.split(".")), name])
    if not module:
        return name
    parts = module.split(".")
    classes = next((at for at, part in enumerate(parts) if part[:1].isupper()), len(parts))
    return "::".join(["/".join(parts[:classes]) + ".py", *parts[classes:], name])
