"""Reads the answers of gpt-oss: messages with a header, each to a channel (analysis, commentary, final)."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from engine.families.named_calls import named_call
from engine.families.reader import SpecialReader
from engine.families.vocabulary import Vocabulary

START, END, MESSAGE = "<|start|>", "<|end|>", "<|message|>"
CHANNEL, CONSTRAIN = "<|channel|>", "<|constrain|>"
RETURN, CALL = "<|return|>", "<|call|>"
FUNCTIONS = "functions."
_RECIPIENT = re.compile(r"to=(\S+)")


class _At(Enum):
    HEADER = auto()
    THOUGHT = auto()
    SPEECH = auto()
    CALL = auto()
    BETWEEN = auto()


class HarmonyReader(SpecialReader):
    """From behind `<|start|>assistant` on. A recipient makes a message a call, wherever its header has it."""

    def __init__(self, vocabulary: Vocabulary, **options: Any):
        names = {token_id: name for name, token_id in vocabulary.special.items()}
        super().__init__(vocabulary, names, **options)
        self._at = _At.HEADER
        self._role, self._channel = "assistant", ""
        self._in_channel = False
        self._name = self._body = ""
        self._spoke = False

    def _on_text(self, text: str) -> None:
        if self._at is _At.HEADER:
            if self._in_channel:
                self._channel += text
            else:
                self._role += text
        elif self._at is _At.THOUGHT:
            self._think(text)
        elif self._at is _At.SPEECH:
            self._say(text)
        elif self._at is _At.CALL:
            self._body += text

    def _on_special(self, name: str) -> None:
        if name == START:
            self._close()
            self._at, self._in_channel = _At.HEADER, False
            self._role = self._channel = ""
        elif name == MESSAGE and self._at is _At.HEADER:
            self._open()
        elif name == CHANNEL and self._at is _At.HEADER:
            self._in_channel = True
        elif name == CONSTRAIN and self._at is _At.HEADER:
            self._on_text(" ")
        elif name == END:
            self._close()
        else:
            self._close()
            self.done = True
        self._thinking = self._at is _At.THOUGHT

    def _open(self) -> None:
        """What a message is, by its header."""
        if not self._role.startswith("assistant"):
            self.done = True  # the model goes on with somebody else's turn
            return
        recipient = _RECIPIENT.search(f"{self._role} {self._channel}")
        if recipient:
            self._at, self._name, self._body = _At.CALL, recipient[1].removeprefix(FUNCTIONS), ""
        elif self._channel.split()[:1] == ["analysis"]:
            self._at = _At.THOUGHT
        else:
            self._at = _At.SPEECH
            if self._spoke:
                self._say("\n\n")
            self._spoke = True

    def _on_end(self) -> None:
        self._close(last=True)

    def _close(self, *, last: bool = False) -> None:
        if self._at is _At.CALL:
            truncated = last and self._truncated
            self._call(named_call(self._name, self._body, self._tools, truncated=truncated))
        self._at = _At.BETWEEN
