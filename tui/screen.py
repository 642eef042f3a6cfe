"""`ostro` alone: a plain full screen that streams one session, with a prompt and a status line."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.widgets import Input, Static

from agent import events
from agent.chat_engine import OpenEngine
from agent.commands import Approve, Deny, Interrupt, SendMessage, Stop
from agent.ending import Ending, WrongUsage
from agent.opening import open_session
from agent.options import RunOptions
from agent.session import Session
from tools.plain_text import PlainStream, plain
from tui.blocks import block_for
from tui.fault import fault
from tui.printer import one_line, progress_line
from tui.slash_commands import command_of
from tui.standard_output import complain

GRACE = 0.5
"""Seconds in which a key cannot answer a question that just came up: it was meant for the prompt."""
REDRAW = 0.05
"""Seconds between two drawings of text that streams in."""
READY = "ready"
GO_ON = "`ostro --resume {0}` goes on, `ostro undo {0}` takes the last step back"
QUESTION = "Allow this?  \\[y] yes   \\[n] no"
KEPT = 500
"""Blocks that stay on the screen; the journal has them all."""


def run_screen(options: RunOptions, engine: OpenEngine | None = None) -> int:
    """Runs until the user leaves; the exit code."""
    app = SessionScreen(options, engine)
    code = app.run()
    if app.last_words:
        complain(app.last_words)
    return 70 if code is None else code


class Wanted(Static):
    """What is asked; it knows how many lines that is on the screen, where a long one is many."""

    def on_resize(self, resized: Resize) -> None:
        assert isinstance(self.parent, ApprovalQuestion)
        self.parent.say_length(resized.size.height)


class ApprovalQuestion(VerticalScroll, can_focus=True):
    """One question at a time; y allows, n denies, after a moment in which neither does.

    All that would run can be scrolled to; what is asked stays above it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "allow"),
        Binding("n,escape", "answer(False)", "deny"),
    ]

    def __init__(self) -> None:
        super().__init__(id="approval")
        self._call = ""
        self._since = 0.0

    def compose(self) -> ComposeResult:
        yield Wanted(id="wanted", markup=False)

    def ask(self, approval: events.Approval) -> None:
        self._call, self._since = approval.id, time.monotonic()
        text = plain("\n".join(filter(None, [approval.what, approval.detail])))
        wanted = self.query_one(Wanted)
        self.say_length(max(text.count("\n") + 1, wanted.size.height))
        wanted.update(text)
        self.scroll_home(animate=False)
        self.add_class("asking")
        self.focus()

    def say_length(self, lines: int) -> None:
        self.border_title = QUESTION + (f"   {lines} lines, ↑ ↓" if lines > 1 else "")

    def action_answer(self, allowed: bool) -> None:
        if time.monotonic() - self._since < GRACE:
            return
        self.remove_class("asking")
        assert isinstance(self.app, SessionScreen)
        self.app.answer(self._call, allowed)


class SessionScreen(App[int]):
    """Shows the events of one session; all it decides is how they look."""

    CSS_PATH = "screen.tcss"
    TITLE = "ostro"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "interrupt", "interrupt"),
        Binding("ctrl+c,ctrl+q", "leave", "leave", priority=True),
    ]

    def __init__(self, options: RunOptions, engine: OpenEngine | None = None) -> None:
        super().__init__()
        self.last_words = ""
        """For standard error, once the screen is gone."""
        self._options = options
        self._engine = engine
        self._session: Session | None = None
        self._leaving = False
        self._plain = PlainStream()
        self._stream: Static | None = None
        self._stream_type = ""
        self._streamed = ""
        self._drawn = 0.0
        self._model = options.model
        self._said = ""

    def compose(self) -> ComposeResult:
        yield VerticalScroll(id="transcript")
        yield ApprovalQuestion()
        yield Input(placeholder="What is to be done?  (Esc interrupts, Ctrl-Q leaves, /undo)", id="prompt")
        yield Static(id="status", markup=False)

    def on_mount(self) -> None:
        self.query_one("#transcript", VerticalScroll).anchor()
        self.query_one("#prompt", Input).focus()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminate)
        self.set_interval(0.25, self._settle)
        self.run_worker(self._follow(), exit_on_error=True)

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        written, text = submitted.value, submitted.value.strip()
        if not text or not self._session:
            return
        submitted.input.clear()
        self._add(plain(text), "user")
        try:
            command = command_of(written)
        except WrongUsage as wrong:
            self._add(f"! {wrong.reason}", "note")
            return
        self._session.send(command or SendMessage(text=text))
        self._say("working")

    def action_interrupt(self) -> None:
        if self._session:
            self._session.send(Interrupt())

    def action_leave(self) -> None:
        """In order the first time, where a turn that runs ends as interrupted; at once the second."""
        if not self._session:
            self.exit(0)
            return
        if self._leaving:
            session = self._session.id
            self.last_words = f"Session {session}: left before it had ended; {GO_ON.format(session)}."
            self.exit(130)
            return
        self._leaving = True
        self._say("leaving")
        self._session.send(Stop())

    def answer(self, call: str, allowed: bool) -> None:
        self.query_one("#prompt", Input).focus()
        if self._session:
            self._session.send(Approve(id=call) if allowed else Deny(id=call))

    def _terminate(self) -> None:
        if self._session:
            self._session.send(Stop(terminated=True))
        else:
            self.exit(143)

    async def _follow(self) -> None:
        """The session from its opening to its end, event by event."""
        try:
            async with open_session(self._options, self._engine) as session:
                self._session = session
                self._say(READY)
                async for event in session.run():
                    self._show(event)
        except Ending as ending:
            self._fail(ending)
        except Exception:
            self._fail(fault())

    def _fail(self, ending: Ending) -> None:
        self.last_words = f"ostro: {ending.reason}"
        self.exit(ending.exit_code)

    def _show(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.Text | events.Thinking):
            self._stream_in(event)
            return
        if isinstance(event, events.Progress):
            self._say(progress_line(event))
            return
        self._end_stream()
        match event:
            case events.Model(state="loading"):
                self._say(f"loading {event.ref}")
            case events.Model():
                self._model = event.ref
            case events.Step():
                self._say(f"step {event.step}: {event.phase}")
            case events.Approval(decision="asked"):
                self.query_one(ApprovalQuestion).ask(event)
            case events.End():
                self.last_words = f"Session {self._session.id if self._session else ''}: {event.outcome}."
                if event.reason:
                    self.last_words += f" {event.reason}"
                self.exit(event.exit_code)
        if block := block_for(event):
            self._add(*block)

    def _stream_in(self, event: events.Text | events.Thinking) -> None:
        if self._stream is None or self._stream_type != event.type:
            self._end_stream()
            self._stream_type = event.type
            self._stream = self._add("", event.type)
        self._streamed += self._plain.push(event.text)
        if time.monotonic() - self._drawn >= REDRAW:
            self._drawn = time.monotonic()
            self._stream.update(self._streamed)

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.update(self._streamed + self._plain.close())
        self._stream, self._stream_type, self._streamed = None, "", ""

    def _add(self, text: str, kind: str) -> Static:
        transcript = self.query_one("#transcript", VerticalScroll)
        block = Static(text, classes=f"block {kind}", markup=False)
        transcript.mount(block)
        old: Iterable[Static] = list(transcript.query(Static))[:-KEPT]
        for gone in old:
            gone.remove()
        return block

    def _settle(self) -> None:
        """No event tells that a turn is over: the session does."""
        if self._session and not self._session.working and not self._leaving:
            self._end_stream()
            self._say(READY)

    def _say(self, doing: str) -> None:
        line = one_line(f"{doing} · {self._model} · {self._options.repo}", 1000)
        if line != self._said:
            self._said = line
            self.query_one("#status", Static).update(line)
