"""`ostro sessions`: what the journals hold."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agent.ending import Ending
from agent.events import EVENT
from agent.journal import Record, find, read, sessions_folder
from tui.headless import printer_for
from tui.printer import one_line
from tui.standard_output import complain, say


@dataclass(frozen=True)
class Summary:
    session: str
    repo: str
    task: str
    """What was asked for, first; of `fix` its command."""
    outcome: str
    """As in the last `end`; "open" where there is none."""


def list_sessions(*, as_json: bool = False) -> int:
    """Prints the sessions of this user, oldest first."""
    found = list(_summaries())
    if not found and not as_json:
        say("There are no sessions yet.")
    if found and not as_json:
        say(f"{'SESSION':<{len(found[-1].session)}}  {'OUTCOME':<12}REPOSITORY  TASK")
    for summary in found:
        if as_json:
            print(json.dumps(vars(summary)))
        else:
            repo, task = one_line(summary.repo, 1000), one_line(summary.task, 60)
            say(f"{summary.session}  {summary.outcome:<12}{repo}  {task}")
    return 0


def show_session(session: str, *, as_json: bool = False) -> int:
    """Prints the events of a session again. Raises WrongUsage where there is none of that name."""
    printer, unknown = printer_for(as_json, reasons=True), 0
    for record in read(find(session)):
        if record.get("kind") != "event":
            continue
        try:
            printer.show(EVENT.validate_python(record["event"]))
        except (ValidationError, KeyError):
            unknown += 1
    if unknown:
        complain(f"ostro: Left out, because another version of Ostro recorded them: {unknown} events.")
    return 0


def _summaries() -> Iterator[Summary]:
    for path in sorted(sessions_folder().glob("*/journal.jsonl")):
        try:
            yield _summary(path, read(path))
        except (Ending, OSError, KeyError, TypeError, AttributeError) as problem:
            yield Summary(path.parent.name, "", str(problem), "unreadable")


def _summary(path: Path, records: list[Record]) -> Summary:
    options = next((record["options"] for record in records if record["kind"] == "options"), {})
    task = options.get("task") or shlex.join(options.get("command") or []) or _first_message(records)
    outcome = "open"
    for record in records:
        event = record.get("event", {})
        if event.get("type") in ("start", "end"):
            outcome = event.get("outcome", "open")
    return Summary(path.parent.name, options.get("repo", ""), " ".join(task.split()), outcome)


def _first_message(records: list[Record]) -> str:
    """What the user of a conversation wrote first, without the files that were added to it."""
    messages = (record["message"] for record in records if record["kind"] == "message")
    return next((said["content"].split("\n\n")[0] for said in messages if said["role"] == "user"), "")
