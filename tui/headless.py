"""A run without a screen: events as text or as JSON lines, exactly one `end`, and the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Protocol

from agent.chat_engine import OpenEngine
from agent.commands import Interrupt, Stop
from agent.ending import Ending, EnvironmentProblem, Interrupted
from agent.events import AnyEvent, End
from agent.opening import open_session
from agent.options import RunOptions
from agent.session import Session
from tools.plain_text import json_escaped
from tui.early_signals import EarlySignals
from tui.fault import fault
from tui.output_folder import OutputFolder
from tui.printer import TextPrinter
from tui.standard_output import complain, let_go, unwritable


class Printer(Protocol):
    def show(self, event: AnyEvent) -> None: ...


class JsonPrinter:
    """One event a line, and nothing else."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def show(self, event: AnyEvent) -> None:
        data = json_line(event)
        while data:
            data = data[os.write(self._fd, data) :]


def json_line(event: AnyEvent) -> bytes:
    """UTF-8, one line. What is no text (half of a surrogate pair) or not seen stays as a JSON escape."""
    text = json.dumps(event.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
    return json_escaped(text).encode("utf-8", "backslashreplace") + b"\n"


def printer_for(as_json: bool, *, reasons: bool = False) -> Printer:
    """`reasons`: as `TextPrinter` has it."""
    if as_json:
        return JsonPrinter(sys.stdout.fileno())
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return TextPrinter(sys.stdout, reasons=reasons)


def run_headless(
    options: RunOptions,
    *,
    as_json: bool = False,
    output_dir: Path | None = None,
    engine: OpenEngine | None = None,
    early: EarlySignals | None = None,
) -> int:
    """Runs to the end and gives the exit code. Nothing is raised: whatever happens becomes an `end`."""
    headless = Headless(printer_for(as_json), output_dir, early or EarlySignals())
    return asyncio.run(headless.run(options, engine))


def refuse(ending: Ending, *, as_json: bool) -> int:
    """A run that cannot begin: its `end`, and the sentence on standard error."""
    end = ending.event()
    if as_json:
        printer_for(True).show(end)
    complain(f"ostro: {end.reason}")
    return end.exit_code


class Headless:
    """One run, its printer and its output folder."""

    def __init__(self, printer: Printer, output_dir: Path | None, early: EarlySignals) -> None:
        self._printer = printer
        self._output_dir = output_dir
        self._early = early
        self._folder: OutputFolder | None = None
        self._lines: list[bytes] = []
        self._session: Session | None = None
        self._task: asyncio.Task[int] | None = None
        self._signal: Interrupt | Stop | None = None
        self._end: End | None = None
        self._unprinted: EnvironmentProblem | None = None
        """Why standard output does not hold the whole run."""

    async def run(self, options: RunOptions, engine: OpenEngine | None = None) -> int:
        self._task = asyncio.current_task()
        self._listen()
        try:
            if self._output_dir:
                self._folder = OutputFolder.open(self._output_dir)
            if self._early.come:
                raise self._early.ending
            async with open_session(options, engine) as session:
                self._session = session
                if self._signal:
                    session.send(self._signal)
                async with contextlib.aclosing(session.run()) as stream:
                    async for event in stream:
                        self._show(event)
        except asyncio.CancelledError:
            self._close(Interrupted(terminated=isinstance(self._signal, Stop)))
        except Ending as ending:
            self._close(ending)
        except Exception:
            self._close(fault())
        assert self._end is not None
        if (why := self._unprinted) is not None:
            told = {"outcome": why.outcome, "reason": why.reason, "exit_code": why.exit_code}
            self._end = self._end.model_copy(update=told)
        self._write_folder(self._end)
        if self._end.reason and self._end.outcome != "done":
            complain(f"ostro: {self._end.reason}")
        return self._end.exit_code

    def _listen(self) -> None:
        """Ctrl-C and SIGTERM end the run in order; a second one ends the process."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._signalled, Interrupt())
        loop.add_signal_handler(signal.SIGTERM, self._signalled, Stop(terminated=True))

    def _signalled(self, command: Interrupt | Stop) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
        self._signal = command
        if self._session:
            self._session.send(command)
        elif self._task:
            self._task.cancel()

    def _show(self, event: AnyEvent) -> None:
        if isinstance(event, End):
            self._end = event
        if self._folder:
            self._lines.append(json_line(event))
        try:
            self._printer.show(event)
        except BrokenPipeError:  # nobody reads any more
            self._stop_printing()
        except OSError as error:
            self._unprinted = unwritable(error)
            self._stop_printing()

    def _stop_printing(self) -> None:
        """Nobody would learn what the run does: end it, and give what is still written a place to go."""
        let_go()
        if self._session:
            self._session.send(Interrupt())

    def _close(self, ending: Ending) -> None:
        """The `end` of a run whose session could not give one."""
        if self._end is None:
            self._show(ending.event())

    def _write_folder(self, end: End) -> None:
        if not self._folder:
            return
        patch = end.patch.encode("utf-8", "surrogateescape")
        files = {"events.jsonl": b"".join(self._lines), "result.json": json_line(end), "patch.diff": patch}
        if problem := self._folder.write(files):
            complain(f"ostro: {problem}")
        self._folder.close()
