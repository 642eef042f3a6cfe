"""A pytest plugin that writes which tests passed and failed to the file named by OSTRO_OUTCOMES.

It runs in the benchmarked suite's own process, so it imports nothing but the standard library.
"""

import json
import os

_passed: list[str] = []
_failed: set[str] = set()
_errors: set[str] = set()


def pytest_runtest_logreport(report):
    if report.failed:
        _failed.add(report.nodeid)
    elif report.when == "call" and report.passed:
        _passed.append(report.nodeid)


def pytest_collectreport(report):
    if report.failed:
        _errors.add(report.nodeid)


def pytest_sessionfinish():
    outcomes = {"passed": len(_passed), "failed": sorted(_failed), "errors": sorted(_errors)}
    with open(os.environ["OSTRO_OUTCOMES"], "w", encoding="utf-8") as file:
        json.dump(outcomes, file)
