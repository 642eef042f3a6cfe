"""A run as text, for a person or a log: steps as they happen, then patch, tests and one summary line."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any, TextIO

from agent import events
from tools.plain_text import PlainStream, plain

WIDTH = 110
OUTPUT_LINES = 12
PATCH_LINES = 400
"""Lines of one tool result that are shown; the journal and the model have it in full."""
STRONGEST = "A"
"""Of the sandbox's tiers (docs/sandbox.md)."""
STYLES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def wants_colour(stream: TextIO) -> bool:
    """On a terminal, unless NO_COLOR (any value but the empty one) or a dumb terminal forbids it."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class TextPrinter:
    """Writes to `stream` what a reader wants to see of each event; unknown types are passed over."""

    def __init__(self, stream: TextIO, *, colour: bool | None = None, reasons: bool = False) -> None:
        """`reasons`: also of what a run says on standard error, where it ended before its time."""
        self._stream = stream
        self._reasons = reasons
        self._colour = wants_colour(stream) if colour is None else colour
        self._started = False
        self._streaming = ""
        self._plain = PlainStream()
        self._green: events.Verify | None = None

    def show(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.Text | events.Thinking):
            self._stream_text(event)
            return
        self._end_streaming()
        show = getattr(self, f"_show_{event.type}", None)
        if show:
            show(event)
        self._stream.flush()

    def _show_start(self, event: events.Start) -> None:
        self._started = True
        what = event.task or shlex.join(event.command or [])
        self._line(f"ostro {event.version} · {one_line(event.repo, 1000)}", "dim")
        first, *open_points = sandbox_lines(event.sandbox)
        self._line(first, "yellow" if open_points else "dim")
        for line in open_points:
            self._line(f"  {line}", "yellow")
        self._line(f"session {event.session}{' (resumed)' if event.resumed else ''}", "dim")
        if what:
            self._line(one_line(what), "bold")

    def _show_model(self, event: events.Model) -> None:
        if event.state == "loading":
            self._line(f"· loading {one_line(event.ref, 1000)}", "dim")
        else:
            what = one_line(f"{event.ref} is ready ({event.family}, {event.context} tokens)", 1000)
            self._line(f"· {what}", "dim")

    def _show_step(self, event: events.Step) -> None:
        self._line(f"[{event.step}] {event.phase}", "cyan")

    def _show_effort(self, event: events.EffortChange) -> None:
        self._line(f"· effort {event.effort}: {one_line('; '.join(event.reasons), 1000)}", "yellow")

    def _show_tool_call(self, event: events.ToolCallEvent) -> None:
        self._line(f"→ {one_line(event.name)} {arguments_line(event.arguments)}")

    def _show_tool_result(self, event: events.ToolResultEvent) -> None:
        lines = plain(event.text).splitlines()
        for line in lines[:OUTPUT_LINES]:
            self._line(f"  {_cut(line, WIDTH)}", "dim" if event.ok else "red")
        if len(lines) > OUTPUT_LINES:
            self._line(f"  … {counted(len(lines) - OUTPUT_LINES, 'more line')}", "dim")

    def _show_approval(self, event: events.Approval) -> None:
        self._line(f"· {event.decision}: {one_line(event.what)}", "yellow")

    def _show_candidate(self, event: events.Candidate) -> None:
        style = "green" if event.verdict == "passed" else "dim"
        counts = "" if event.passed is None else f" ({event.passed} passed, {event.failed or 0} failed)"
        change = " ⇒ ".join(differing(event.before, event.after, 40))
        place = f"{one_line(event.file, 1000)}:{event.line}"
        self._line(f"  #{event.n} {place} {event.verdict}{counts}  {change}", style)

    def _show_progress(self, event: events.Progress) -> None:
        self._line(f"  … {progress_line(event)}", "dim")

    def _show_verify(self, event: events.Verify) -> None:
        command = one_line(shlex.join(event.command), 70)
        if event.passed:
            self._green = event
            self._line(f"✓ {command} passed ({event.seconds:.1f} s)", "green")
            return
        self._green = None
        how = "did not end in time" if event.exit_code is None else f"exit code {event.exit_code}"
        failing = f", {len(event.failing)} failing" if event.failing else ""
        self._line(f"✗ {command}: {how}{failing} ({event.seconds:.1f} s)", "red")
        shown = event.failing or plain(event.tail).splitlines()[-OUTPUT_LINES:]
        for line in shown[:OUTPUT_LINES]:
            self._line(f"  {one_line(line) if event.failing else plain(line)[:WIDTH]}", "dim")
        if len(event.failing) > OUTPUT_LINES:
            self._line(f"  … and {len(event.failing) - OUTPUT_LINES} more", "dim")

    def _show_checkpoint(self, event: events.Checkpoint) -> None:
        self._line(f"· checkpoint {event.step}: {one_line(event.label)}", "dim")

    def _show_undo(self, event: events.UndoEvent) -> None:
        self._line(undo_line(event), "yellow")

    def _show_warning(self, event: events.Warn) -> None:
        self._line(f"! {one_line(event.text, 1000)}", "yellow")

    def _show_end(self, event: events.End) -> None:
        if not self._started:  # nothing ran; the reason goes to standard error
            return
        if event.patch:
            self._line("")
            lines = plain(event.patch).splitlines()
            for line in lines[:PATCH_LINES]:
                self._line(line, _patch_style(line))
            if len(lines) > PATCH_LINES:
                more = f"… and {counted(len(lines) - PATCH_LINES, 'more line')}"
                self._line(f"{more}; --json and --output-dir DIR give the whole patch", "dim")
        if event.verified and self._green:
            self._line("")
            self._line(f"✓ {one_line(shlex.join(self._green.command))} passes", "green")
        self._line("")
        told = event.reason and (self._reasons or event.outcome == "done")
        reason = f" {one_line(event.reason, 10_000)}" if told else ""
        self._line(summary(event) + reason, "green" if event.exit_code == 0 else "red")

    def _stream_text(self, event: events.Text | events.Thinking) -> None:
        if self._streaming != event.type:
            self._end_streaming()
            self._streaming = event.type
        self._write(self._plain.push(event.text))

    def _end_streaming(self) -> None:
        if self._streaming:
            self._write(self._plain.close() + "\n")
        self._streaming = ""

    def _write(self, text: str) -> None:
        self._stream.write(self._styled(text, "dim") if self._streaming == "thinking" else text)
        self._stream.flush()

    def _line(self, text: str, style: str = "") -> None:
        """What comes from outside (a path, a model's name, a reason) sends no escapes to the terminal."""
        self._stream.write(self._styled(plain(text), style) + "\n")

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self._colour and style and text else text


def sandbox_lines(sandbox: dict[str, Any]) -> list[str]:
    """How strong the sandbox is; below the strongest tier, a line for each thing that it does not enforce."""
    tier, mechanism = sandbox.get("tier", "unknown"), one_line(str(sandbox.get("mechanism", "unknown")))
    hosts = ", ".join(map(str, sandbox.get("network", [])))
    network = f"; network: {one_line(hosts, 1000)}" if hosts else ""
    if tier == STRONGEST:
        return [
            f"sandbox: tier {tier} ({mechanism}){network}; `ostro doctor` says what that enforces, what not"
        ]
    first = "no sandbox" if tier == "none" else f"sandbox: tier {one_line(str(tier))} ({mechanism}){network}"
    return [
        first,
        *(f"not enforced: {one_line(str(words), 1000)}" for words in sandbox.get("not_enforced", [])),
    ]


def progress_line(event: events.Progress) -> str:
    """How far a long step is."""
    told = []
    if event.candidates:
        told.append(f"{counted(event.candidates, 'candidate')} tried")
    if event.read:
        told.append(f"{counted(event.read, 'token')} read")
    if event.written:
        told.append(f"{counted(event.written, 'token')} written")
    return f"{event.phase}, {event.seconds:.0f} s{': ' if told else ''}{', '.join(told)}"


def undo_line(event: events.UndoEvent) -> str:
    what = "Undone" if event.kind == "undo" else "Redone"
    files = "no file changed" if not event.files else one_line(", ".join(event.files), 1000)
    return f"{what}: the files are as at step {event.step} ({one_line(event.label)}): {files}."


def summary(end: events.End) -> str:
    """The run in one line, without its reason."""
    passes = ", verified" if end.outcome == "done" else ", though the command passes"
    words = {True: passes, False: ", not verified", None: ""}[end.verified]
    files = {0: "no file changed", 1: "1 file changed"}.get(
        len(end.changed_files), f"{len(end.changed_files)} files changed"
    )
    counts = [files, counted(end.steps, "step"), f"{end.seconds:.1f} s"]
    if end.tokens.generated:
        counts.append(f"{counted(end.tokens.generated, 'token')} generated")
    return f"{end.outcome}{words}: {', '.join(counts)}."


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def arguments_line(arguments: dict[str, Any] | str) -> str:
    if isinstance(arguments, str):
        return one_line(arguments)
    return one_line(
        " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    )


def one_line(text: str, limit: int = WIDTH) -> str:
    return _cut(" ".join(plain(text).split()), limit)


def differing(before: str, after: str, limit: int) -> tuple[str, str]:
    """Two texts, each in at most `limit` characters, from a little before the place where they differ."""
    a, b = (" ".join(plain(text).split()) for text in (before, after))
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = same - limit // 4
    if max(len(a), len(b)) <= limit or start <= 1:
        return _cut(a, limit) or "nothing", _cut(b, limit) or "nothing"
    return _cut("…" + a[start:], limit), _cut("…" + b[start:], limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _patch_style(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
