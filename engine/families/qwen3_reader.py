"""Reads the answers of Qwen3's models: `<think>` and `<tool_call>` are tokens, the rest is text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.families.calls import CALL_CLOSE, CALL_OPEN, read_calls
from engine.families.reader import SpecialReader
from engine.families.stream import THINK_CLOSE, THINK_OPEN
from engine.families.vocabulary import Vocabulary
from engine.families.xml_calls import xml_call
from engine.request import ToolSpec


class Qwen3Reader(SpecialReader):
    """Calls in JSON, or in `xml`. Blanks around thoughts and before calls are the template's, not said."""

    def __init__(
        self, vocabulary: Vocabulary, specs: Sequence[ToolSpec], *, xml: bool, thinking: bool, **options: Any
    ):
        names = {token_id: name for name, token_id in vocabulary.special.items()}
        super().__init__(vocabulary, names, tools=[spec.name for spec in specs], **options)
        self._specs = {spec.name: spec for spec in specs}
        self._xml = xml
        self._thinking = thinking
        self._body: str | None = None
        self._fresh = True  # blanks at the beginning of a part are dropped
        self._blank = ""  # read, but told only when more text follows in the same part

    def _on_text(self, text: str) -> None:
        if self._body is not None:
            self._body += text
            return
        text = self._blank + text
        if self._fresh:
            text = text.lstrip()
        said = text.rstrip()
        self._blank = text[len(said) :]
        if said:
            self._fresh = False
            self._think(said) if self._thinking else self._say(said)

    def _on_special(self, name: str) -> None:
        if self._body is not None and name == CALL_CLOSE:
            self._close_call()
        elif self._body is not None and name in (THINK_OPEN, THINK_CLOSE, CALL_OPEN):
            self._body += name  # a file that is edited may well hold these
        elif name == CALL_OPEN:
            self._part(thinking=False)
            self._body = ""
        elif name in (THINK_OPEN, THINK_CLOSE):
            self._part(thinking=name == THINK_OPEN)
        elif name != CALL_CLOSE:
            self._close_call()
            self.done = True  # the model goes on with somebody else's turn

    def _part(self, *, thinking: bool) -> None:
        self._thinking, self._fresh, self._blank = thinking, True, ""

    def _on_end(self) -> None:
        self._close_call(last=True)
        if self._blank and not self.calls and not self._thinking:
            self._say(self._blank)

    def _close_call(self, *, last: bool = False) -> None:
        if self._body is None:
            return
        body, self._body = self._body, None
        truncated = last and self._truncated
        if self._xml:
            self._call(xml_call(body, self._specs, truncated=truncated))
        else:
            for call in read_calls(body, self._tools, truncated=truncated):
                self._call(call)
        self._part(thinking=False)
