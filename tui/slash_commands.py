"""What is typed on the screen and begins with a slash: for the session itself, not for the model."""

from __future__ import annotations

import re

from agent.commands import Redo, Undo
from agent.ending import WrongUsage
from tui.option_values import DIGITS, brief

USES = "There are `/undo [--to STEP] [--force]` and `/redo [--force]`"
AS_TEXT = "a message that begins with a slash is sent where a space stands before it."


def command_of(text: str) -> Undo | Redo | None:
    """None for a message to the model. Raises WrongUsage for a command that there is not.

    A path (`/usr/lib is full`) is no command: a second slash is in its first word.
    """
    if not text.startswith("/"):
        return None
    name, *words = text.split()
    if "/" in name[1:]:
        return None
    force = "--force" in words
    if force:
        words.remove("--force")
    match name, words:
        case "/undo", []:
            return Undo(force=force)
        case "/undo", ["--to", step] if re.fullmatch(DIGITS, step):
            return Undo(step=int(step), force=force)
        case "/redo", []:
            return Redo(force=force)
    raise WrongUsage(f"{brief(text.strip())} is no command of the screen. {USES}; {AS_TEXT}")
