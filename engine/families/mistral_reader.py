"""Reads the answers of Mistral's models: [THINK], [TOOL_CALLS] and their kind are tokens, never text."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from engine.families.named_calls import listed_calls, named_call
from engine.families.reader import SpecialReader
from engine.families.vocabulary import Vocabulary

THINK, THINK_CLOSE = "[THINK]", "[/THINK]"
CALLS, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
NO_ARGS = "the call has no [ARGS] between its name and its arguments"


class _At(Enum):
    TEXT = auto()
    THINKING = auto()
    NAME = auto()
    ID = auto()
    ARGUMENTS = auto()
    LIST = auto()


class MistralReader(SpecialReader):
    """From v11 on `[TOOL_CALLS]name[ARGS]{…}`, once a call; before that `[TOOL_CALLS][{…}, …]`."""

    def __init__(self, vocabulary: Vocabulary, *, listed: bool, **options: Any):
        names = {token_id: name for name, token_id in vocabulary.special.items()}
        super().__init__(vocabulary, names, **options)
        self._listed = listed
        self._at = _At.TEXT
        self._name = self._body = ""

    def _on_text(self, text: str) -> None:
        if self._at is _At.THINKING:
            self._think(text)
        elif self._at is _At.TEXT:
            self._say(text)
        elif self._at is _At.NAME:
            self._name += text
        elif self._at in (_At.ARGUMENTS, _At.LIST):
            self._body += text

    def _on_special(self, name: str) -> None:
        if name == ARGS and self._at in (_At.NAME, _At.ID):
            self._at = _At.ARGUMENTS
        elif name == CALL_ID and self._at is _At.NAME:
            self._at = _At.ID  # the engine numbers calls itself
        elif name in (THINK, THINK_CLOSE, CALLS):
            self._close_call()
            self._at = self._next(name)
            self._thinking = self._at is _At.THINKING
        else:  # a token that has no place in an answer: the model goes on with somebody else's turn
            self._close_call()
            self.done = True

    def _next(self, name: str) -> _At:
        if name == CALLS:
            return _At.LIST if self._listed else _At.NAME
        return _At.THINKING if name == THINK else _At.TEXT

    def _on_end(self) -> None:
        self._close_call(last=True)

    def _close_call(self, *, last: bool = False) -> None:
        truncated = last and self._truncated
        if self._at is _At.LIST:
            for call in listed_calls(self._body, self._tools, truncated=truncated):
                self._call(call)
        elif self._at in (_At.NAME, _At.ID, _At.ARGUMENTS):
            missing = None if self._at is _At.ARGUMENTS else NO_ARGS
            self._call(named_call(self._name, self._body, self._tools, truncated=truncated, missing=missing))
        self._name = self._body = ""
        self._at = _At.TEXT
