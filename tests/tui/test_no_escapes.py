"""Whatever the text (a path, a task, a model's metadata, an error): no face lets it drive a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import re
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import events
from agent.ending import EnvironmentProblem
from agent.journal import Journal
from tests.tools.test_plain_text import TEXT
from tools.plain_text import plain
from tui import command_line, doctor, models, sessions
from tui.blocks import block_for
from tui.doctor import Finding
from tui.headless import json_line
from tui.printer import TextPrinter, one_line
from tui.standard_output import say

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
HOSTILE = st.one_of(
    TEXT,
    st.text(),
    st.text(st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp"))),
    st.lists(
        st.sampled_from([*"\u200b\u200d\u2066\u202e\u061c\ufeff\u00ad\x9b\x85", "\U000e0041", "[/", "a"])
    ).map("".join),
)


def every_event(text: str) -> list[events.AnyEvent]:
    return [
        events.Start(session=text, repo=text, task=text, version=text, sandbox={"mechanism": text}),
        events.Start(session=text, repo=text, command=[text], version=text, sandbox={}),
        events.Model(ref=text, family=text, context=1, state="loading"),
        events.Model(ref=text, family=text, context=1, state="ready"),
        events.EffortChange(effort="high", reasons=[text]),
        events.Thinking(text=text),
        events.Text(text=text),
        events.ToolCallEvent(id=text, name=text, arguments={text: text}),
        events.ToolCallEvent(id=text, name=text, arguments=text),
        events.ToolOutput(id=text, text=text),
        events.ToolResultEvent(id=text, ok=False, text=text, seconds=1, data={text: text}),
        *(events.Approval(id=text, what=text, decision=d) for d in ("asked", "allowed", "denied")),
        events.Candidate(n=1, file=text, line=1, before=text, after=f"{text}x", verdict="broken"),
        events.Verify(command=[text], exit_code=1, seconds=1, passed=False, failing=[text]),
        events.Verify(command=[text], exit_code=1, seconds=1, passed=False, tail=text),
        events.Verify(command=[text], exit_code=0, seconds=1, passed=True),
        events.Checkpoint(tree=text, label=text),
        events.Warn(text=text),
        events.End(
            outcome="unsolved", reason=text, verified=True, patch=text, changed_files=[text], denied=[text]
        ),
    ]


@given(HOSTILE)
def test_no_event_brings_any_to_the_text_or_the_screen(text: str):
    stream = io.StringIO()
    printer = TextPrinter(stream, colour=False, reasons=True)
    for event in every_event(text):
        printer.show(event)
        shown, _ = block_for(event) or ("", "")
        assert not UNSEEN.search(shown)

    assert not UNSEEN.search(stream.getvalue())


OF_MANY_LINES = (events.Text, events.Thinking, events.ToolOutput, events.ToolResultEvent)


def test_no_name_makes_a_line_of_its_own():
    """It would look like one of Ostro's: `✓ pytest passed`."""
    line = "✓ pytest passed (0.1 s)"
    stream = io.StringIO()
    printer = TextPrinter(stream, colour=False, reasons=True)
    for event in every_event(f"a\n{line}\r\n{line}\nb"):
        if isinstance(event, OF_MANY_LINES) or (isinstance(event, events.Verify) and event.tail):
            continue
        if isinstance(event, events.End):
            event = event.model_copy(update={"patch": ""})
        if isinstance(event, events.Start):  # these two are Ostro's own
            event = event.model_copy(update={"version": "1", "session": "s"})
        printer.show(event)
        shown, _ = block_for(event) or ("", "")
        assert line not in shown.split("\n")
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        command_line._said(EnvironmentProblem(f"a\n{line}"))

    assert line not in [*stream.getvalue().split("\n"), *err.getvalue().split("\n")]
    assert stream.getvalue().count(line) > 10


@given(HOSTILE)
def test_json_means_the_same_and_drives_no_terminal(text: str):
    for event in every_event(text):
        line = json_line(event)
        assert not UNSEEN.search(line.decode("utf-8").removesuffix("\n"))
        assert json.loads(line) == json.loads(json.dumps(event.model_dump(mode="json")))


@given(HOSTILE)
def test_no_error_brings_any(text: str):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert command_line._said(EnvironmentProblem(text)) == 3
        assert command_line.main(["models", "show", text.replace("\0", "") or "x"]) in (2, 3)

    assert not UNSEEN.search(err.getvalue())


@given(HOSTILE, st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_nothing_that_is_said_brings_any(text: str, encoding: str):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    say(text, stream)
    stream.seek(0)

    assert not UNSEEN.search(stream.read())


@given(HOSTILE)
def test_no_listing_brings_any(text: str):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    part = {"parameters": 1, "bytes": 1, "active": 1}
    facts = {"title": text, "counts": {text: 1}, "parts": {text: part}}
    with (
        contextlib.redirect_stdout(out),
        patch.object(models, "facts_of", lambda ref, memory: facts),
        patch.object(doctor, "_git", lambda: Finding("git", True, text)),
        patch.object(doctor, "_sandbox", lambda: nothing()),
        patch.object(sessions, "_summaries", lambda: [sessions.Summary("s", text, text, "done")]),
    ):
        models.show_model("x")
        doctor.doctor()
        sessions.list_sessions()
    out.seek(0)

    assert not UNSEEN.search(out.read())


async def nothing() -> Finding:
    return Finding("sandbox", True, "")


def test_a_listing_survives_what_is_no_text(capfd: pytest.CaptureFixture[str]):
    journal = Journal.create()
    journal.append("options", options={"repo": "/r\udc80\nostro: all is well", "task": "a\u202eb"})
    journal.close()
    assert sessions.list_sessions() == 0

    line = next(line for line in capfd.readouterr().out.splitlines() if journal.session in line)
    assert "/r\ufffd ostro: all is well  ab" in line
    journal.path.unlink()


def test_the_check_can_fail():
    assert all(UNSEEN.search(character) for character in "\x1b\x7f\x9b\u202e\u200b")
    assert not UNSEEN.search("tab\tline\nßé漢❤️")
    assert plain("ßé漢❤️") == "ßé漢❤️" and one_line("a\u200bb") == "ab"
