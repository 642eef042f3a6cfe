"""Conversations with a family, and its answers as they are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.families.reader import Reader
from engine.request import Message, TextDelta, ThinkingDelta, ToolCallDelta


def say(role: Any, content: str = "", **rest: Any) -> Message:
    return Message(role=role, content=content, **rest)


TURNS = {
    "user": (say("user", "Hi"),),
    "system": (say("system", "Be brief."), say("user", "Hi\n")),
    "turns": (say("user", "Hi"), say("assistant", "Hello."), say("user", "Übung 🦘?")),
}
"""Conversations without a call."""


def heard(reader: Reader, ids: Iterable[int], *, truncated: bool = False) -> list[Any]:
    """Thought, text and calls of an answer, each joined."""
    told = [piece for token_id in ids for piece in reader.push(token_id)]
    told += reader.finish(truncated=truncated)
    thought = "".join(piece.text for piece in told if isinstance(piece, ThinkingDelta))
    said = "".join(piece.text for piece in told if isinstance(piece, TextDelta))
    return [thought, said, *(piece.call for piece in told if isinstance(piece, ToolCallDelta))]
