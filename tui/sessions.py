"""`ostro sessions`: what the journals hold."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.ending import Ending
from agent.events import EVENT
from agent.journal import Record, find, read, sessions_folder
from tui.headless import json_line
from tui.printer import TextPrinter


@dataclass(frozen=True)
class Summary:
    session: str
    repo: str
    task: str
    outcome: str
    """As in the last `end`; "open" where there is none."""


def list_sessions(*, as_json: bool = False) -> int:
    """Prints the sessions of this user, oldest first."""
    found = list(_summaries())
    if not found and not as_json:
        print("There are no sessions yet.")
    for summary in found:
        if as_json:
            print(json.dumps(vars(summary)))
        else:
            print(f"{summary.session}  {summary.outcome:<12}{summary.repo}  {summary.task[:60]}")
    return 0


def show_session(session: str, *, as_json: bool = False) -> int:
    """Prints the events of a session again. Raises WrongUsage where there is none of that name."""
    printer = None if as_json else TextPrinter(sys.stdout)
    for record in read(find(session)):
        if record["kind"] != "event":
            continue
        event = EVENT.validate_python(record["event"])
        if printer:
            printer.show(event)
        else:
            sys.stdout.buffer.write(json_line(event))
    sys.stdout.flush()
    return 0


def _summaries() -> Iterator[Summary]:
    for path in sorted(sessions_folder().glob("*/journal.jsonl")):
        try:
            yield _summary(path, read(path))
        except (Ending, OSError, KeyError) as problem:
            yield Summary(path.parent.name, "", str(problem), "unreadable")


def _summary(path: Path, records: list[Record]) -> Summary:
    options = next((record["options"] for record in records if record["kind"] == "options"), {})
    task = options.get("task") or shlex.join(options.get("command") or [])
    outcome = "open"
    for record in records:
        event = record.get("event", {})
        if event.get("type") in ("start", "end"):
            outcome = event.get("outcome", "open")
    return Summary(path.parent.name, options.get("repo", ""), " ".join(task.split()), outcome)
