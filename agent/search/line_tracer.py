"""Runs inside the user's Python (3.8 or later): which lines did failing and passing tests run?

A pytest plugin (`-p ostro_line_tracer`), or started by a `sitecustomize` for other Python commands. Imports
the standard library only. What it found goes to standard output after MARKER, as base64 of compressed
JSON, because nothing else of a run outlives it:

    {"failed": tests, "passed": tests,
     "lines": {file: [[line, failed, passed], ...]}, "imported": {file: [line, ...]}}

`lines` holds those that a failing test ran; `imported` those that ran outside tests (module level code).
"""

import atexit
import base64
import json
import os
import sys
import threading
import time
import zlib
from typing import Any

MARKER = "@@ostro-line-trace@@"
ROOT = os.path.join(os.path.realpath(os.environ.get("OSTRO_TRACE_ROOT", os.getcwd())), "")
SECONDS = float(os.environ.get("OSTRO_TRACE_SECONDS", "30"))
FIRST = set(json.loads(os.environ.get("OSTRO_TRACE_FIRST", "[]")))
# From Python 3.12 on; looked up loosely, because older ones do not have it.
MONITORING: Any = getattr(sys, "monitoring", None)
BEGAN = time.monotonic()
# A second descriptor: while tests run, pytest captures the first one.
OUT = os.dup(1) if os.environ.get("OSTRO_TRACE_ROOT") else None


class Lines:
    """The lines of files under ROOT that ran since the last `take`."""

    def __init__(self):
        self.sets = {}
        self.known = {}
        self.tool = None

    def lines_of(self, filename):
        """The set to add to, or None for a file that is not the repository's own."""
        try:
            return self.known[filename]
        except KeyError:
            pass
        path = os.path.realpath(filename)
        inside = (
            path.startswith(ROOT)
            and "site-packages" not in path
            and os.sep + "lib" + os.sep + "python" not in path
        )
        lines = self.sets.setdefault(path[len(ROOT) :].replace(os.sep, "/"), set()) if inside else None
        self.known[filename] = lines
        return lines

    def take(self):
        found = {name: set(lines) for name, lines in self.sets.items() if lines}
        for lines in self.sets.values():
            lines.clear()
        if self.tool is not None:
            MONITORING.restart_events()
        return found

    def start(self):
        if MONITORING is not None:
            self._monitor()
        if self.tool is None:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self):
        if self.tool is not None:
            MONITORING.set_events(self.tool, 0)
            MONITORING.free_tool_id(self.tool)
            self.tool = None
            return
        sys.settrace(None)
        threading.settrace(None)

    def _monitor(self):
        for tool in (4, 3, 5, 2):
            if MONITORING.get_tool(tool) is None:
                MONITORING.use_tool_id(tool, "ostro")
                MONITORING.register_callback(tool, MONITORING.events.LINE, self._line)
                MONITORING.set_events(tool, MONITORING.events.LINE)
                self.tool = tool
                return

    def _line(self, code, line):
        lines = self.lines_of(code.co_filename)
        if lines is not None:
            lines.add(line)
        return MONITORING.DISABLE

    def _enter(self, frame, event, argument):
        lines = self.lines_of(frame.f_code.co_filename)
        if lines is None:
            return None
        add = lines.add

        def step(frame, event, argument):
            if event == "line":
                add(frame.f_lineno)
            return step

        return step


class Tally:
    def __init__(self):
        self.failed = 0
        self.passed = 0
        self.counts = {}
        self.imported = {}
        self.told = False

    def outside(self, found):
        for name, lines in found.items():
            self.imported.setdefault(name, set()).update(lines)

    def test(self, found, failed):
        if failed:
            self.failed += 1
        else:
            self.passed += 1
        for name, lines in found.items():
            counts = self.counts.setdefault(name, {})
            for line in lines:
                pair = counts.setdefault(line, [0, 0])
                pair[0 if failed else 1] += 1

    def tell(self):
        if self.told or OUT is None or not (self.counts or self.imported):
            return
        self.told = True
        lines = {
            name: [[line, pair[0], pair[1]] for line, pair in sorted(counts.items()) if pair[0]]
            for name, counts in self.counts.items()
        }
        answer = {
            "failed": self.failed,
            "passed": self.passed,
            "lines": {name: counts for name, counts in lines.items() if counts},
            "imported": {name: sorted(lines) for name, lines in self.imported.items()},
        }
        text = base64.b64encode(zlib.compress(json.dumps(answer).encode())).decode()
        data = ("\n" + MARKER + text + MARKER + "\n").encode()
        while data:
            data = data[os.write(OUT, data) :]


LINES = Lines()
TALLY = Tally()
_state = {"test": None, "failed": False, "session": None}


def _give_up():
    """A test that hangs: tell what is known, this test counted as failing, and end."""
    found = LINES.take()
    TALLY.test(found, True) if _state["test"] is not None else TALLY.outside(found)
    TALLY.tell()
    os._exit(1)


def _begin():
    timer = threading.Timer(SECONDS, _give_up)
    timer.daemon = True
    timer.start()
    LINES.start()


def start_process():
    """Counts the whole process as one failing test, or each `unittest` test for itself."""
    _begin()
    if os.environ.get("OSTRO_TRACE_UNITTEST"):
        _watch_unittest()
    atexit.register(_end_process)


def _end_process():
    LINES.stop()
    found = LINES.take()
    TALLY.outside(found)
    if not TALLY.failed and not TALLY.passed:
        TALLY.imported, TALLY.counts = {}, {}
        TALLY.test(found, True)
    TALLY.tell()


def _watch_unittest():
    import unittest

    run = unittest.TestCase.run

    def watched(self, result=None):
        TALLY.outside(LINES.take())
        _state["test"] = self.id()
        bad = len(result.failures) + len(result.errors) if result is not None else 0
        try:
            return run(self, result)
        finally:
            _state["test"] = None
            now = len(result.failures) + len(result.errors) if result is not None else 1
            TALLY.test(LINES.take(), now > bad)

    unittest.TestCase.run = watched


def pytest_sessionstart(session):
    _state["session"] = session
    _begin()


def pytest_collection_modifyitems(items):
    if FIRST:
        items.sort(key=lambda item: item.nodeid not in FIRST)


def pytest_runtest_logstart(nodeid, location):
    TALLY.outside(LINES.take())
    _state["test"], _state["failed"] = nodeid, False


def pytest_runtest_logreport(report):
    if report.failed:
        _state["failed"] = True


def pytest_runtest_logfinish(nodeid, location):
    TALLY.test(LINES.take(), _state["failed"])
    _state["test"] = None
    if time.monotonic() - BEGAN > SECONDS * 0.6 and _state["session"] is not None:
        _state["session"].shouldstop = "enough seen"


def pytest_unconfigure(config):
    LINES.stop()
    TALLY.outside(LINES.take())
    TALLY.tell()
