"""What a person is asked, and what is recorded of a denial: all that a call would do, made visible."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from engine.request import ToolCall
from tools.plain_text import plain, visible

BRIEF = 120
"""Characters of a denial in a sentence."""


@dataclass(frozen=True)
class Wish:
    """A call that waits for leave."""

    call_id: str
    tool: str
    changes: bool
    """It may change something, or run what may."""
    command: str | None
    """The command line that the model wrote, for a call that runs one."""
    what: str
    """The tool, and all of the command that would run; of another call, what it is about."""
    detail: str = ""
    """What would be written, whole."""


def wish(call: ToolCall, arguments: dict[str, Any], *, changes: bool) -> Wish:
    """Control characters and bidirectional marks of the model's are visible in what is shown of it."""
    command = arguments.get("command") if call.name in ("shell", "test") else None
    if isinstance(command, str):
        cwd = arguments.get("cwd", ".")
        where = "" if cwd in (".", "") else f"(in {visible(str(cwd))}) "
        return Wish(call.id, call.name, changes, command, f"{call.name} {where}{visible(command)}")
    about = "path" if "path" in arguments else next(iter(arguments), "")
    what = f"{call.name} {visible(str(arguments.get(about, '')))}".strip().replace("\n", "\\n")
    rest = [f"{visible(name)}: {_shown(value)}" for name, value in arguments.items() if name != about]
    return Wish(call.id, call.name, changes, None, what, "\n".join(rest) if changes else "")


def brief(what: str) -> str:
    """One line of it, for a sentence."""
    line = " ".join(plain(what).split())
    return line if len(line) <= BRIEF else f"{line[: BRIEF - 1]}…"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return visible(text if "\n" not in text else f"\n{text}")
