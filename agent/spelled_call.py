"""An answer that is a call in all but its marks, of a tool that there is not: no task ends by that."""

from __future__ import annotations

import json
import re

_FENCED = re.compile(r"```\w*\n(.*)\n```", re.DOTALL)


def spelled_call(answer: str) -> str | None:
    """The tool's name, where the whole answer is a JSON object with a name and arguments, or one in a fence.

    One with the name of a real tool is a call, and never comes here as text.
    """
    text = answer.strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced[1]
    try:
        spelled = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(spelled, dict) or spelled.keys() != {"name", "arguments"}:
        return None
    name, arguments = spelled["name"], spelled["arguments"]
    return name if isinstance(name, str) and isinstance(arguments, dict) else None
