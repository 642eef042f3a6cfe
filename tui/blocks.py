"""How an event looks on the screen: its text, and the class that colours it."""

from __future__ import annotations

import shlex

from agent import events
from tools.plain_text import plain
from tui.printer import OUTPUT_LINES, arguments_line, counted, one_line, sandbox_lines, undo_line


def block_for(event: events.AnyEvent) -> tuple[str, str] | None:
    """None for an event that the transcript does not show; no escapes in it, wherever its text is from."""
    block = _block(event)
    return block and (plain(block[0]), block[1])


def _block(event: events.AnyEvent) -> tuple[str, str] | None:
    match event:
        case events.Start():
            first = f"ostro {event.version} · {one_line(event.repo, 1000)}"
            return "\n".join([first, *sandbox_lines(event.sandbox)]), "note"
        case events.EffortChange():
            return f"effort {event.effort}: {one_line('; '.join(event.reasons), 1000)}", "note"
        case events.ToolCallEvent():
            return f"→ {one_line(event.name)} {arguments_line(event.arguments)}", "call"
        case events.ToolResultEvent():
            return _first_lines(event.text), "result" if event.ok else "bad"
        case events.Approval(decision="allowed" | "denied"):
            return f"{event.decision}: {one_line(event.what)}", "note"
        case events.Verify():
            command = one_line(shlex.join(event.command))
            if event.passed:
                return f"✓ {command} passed ({event.seconds:.1f} s)", "good"
            return f"✗ {command} failed ({event.seconds:.1f} s)\n{_first_lines(event.tail)}", "bad"
        case events.UndoEvent():
            return undo_line(event), "note"
        case events.Warn():
            return f"! {one_line(event.text, 10_000)}", "note"
    return None


def _first_lines(text: str) -> str:
    lines = plain(text).splitlines()
    shown = [f"  {line}" for line in lines[:OUTPUT_LINES]]
    if len(lines) > OUTPUT_LINES:
        shown.append(f"  … {counted(len(lines) - OUTPUT_LINES, 'more line')}")
    return "\n".join(shown)
