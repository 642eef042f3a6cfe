"""How an answer is read: token by token, because a special token and text that spells it differ.

`TextReader` is for families whose marks are text; `SpecialReader` is the base of those whose marks are
tokens: what it hands on as text is never a mark, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from engine.families.calls import ParsedCall
from engine.families.stream import AnswerParser
from engine.families.telling import Piece, Telling
from engine.families.vocabulary import Vocabulary
from engine.request import TextDelta, ThinkingDelta


class Reader(Protocol):
    """Reads one answer, from behind the family's opening on. The token that ends it is not pushed."""

    calls: int
    """Tool calls told so far."""
    done: bool
    """What follows means nothing any more."""

    @property
    def thinking(self) -> bool:
        """Whether the next token belongs to a thought, and so to its budget."""
        ...

    def push(self, token_id: int) -> list[Piece]:
        """What has become certain with this token."""
        ...

    def finish(self, *, truncated: bool = False) -> list[Piece]:
        """What was held back. `truncated`: the token budget ended the answer, not the model."""
        ...


class TextReader(AnswerParser):
    """An `AnswerParser` over the text of the tokens. Its marks count however they were spelt."""

    def __init__(self, vocabulary: Vocabulary, **options: Any):
        super().__init__(**options)
        self._decoder = vocabulary.stream()

    def push(self, token_id: int) -> list[Piece]:
        return self.feed(self._decoder.push(token_id))

    def finish(self, *, truncated: bool = False) -> list[Piece]:
        return self.feed(self._decoder.end()) + super().finish(truncated=truncated)


class SpecialReader(Telling):
    """Base of the readers by special tokens.

    A subclass gives `_on_text` (ordinary text, in pieces) and `_on_special` (a special token's name), and
    `_on_end`; it tells by `_think`, `_say` and `_call`, and may set `done` and `_thinking`.
    """

    def __init__(self, vocabulary: Vocabulary, names: Mapping[int, str], **options: Any):
        super().__init__(**options)
        self._vocabulary, self._names = vocabulary, names
        self._decoder = vocabulary.stream()
        self._thinking = False

    @property
    def thinking(self) -> bool:
        return self._thinking and not self.done

    def push(self, token_id: int) -> list[Piece]:
        if not self.done:
            name = self._names.get(token_id)
            if name is None:
                self._read(self._decoder.push(token_id))
            else:
                self._read(self._decoder.end())
                if not self.done:
                    self._on_special(name)
        return self._take()

    def finish(self, *, truncated: bool = False) -> list[Piece]:
        self._truncated = truncated
        if not self.done:
            self._read(self._decoder.end())
        if not self.done:
            self._on_end()
        if not self._stop.hit:
            self._tell_text(self._stop.flush())
        self.done = True
        return self._take()

    def _read(self, text: str) -> None:
        if text:
            self._on_text(text)

    def _on_text(self, text: str) -> None:
        raise NotImplementedError

    def _on_special(self, name: str) -> None:
        raise NotImplementedError

    def _on_end(self) -> None:
        raise NotImplementedError

    def _think(self, text: str) -> None:
        if text:
            self._out.append(ThinkingDelta(text=text))

    def _say(self, text: str) -> None:
        """Tell text, up to a stop string."""
        self._tell_text(self._stop.feed(text))
        self.done = self._stop.hit

    def _tell_text(self, text: str) -> None:
        if text:
            self._out.append(TextDelta(text=text))

    def _call(self, parsed: ParsedCall) -> None:
        self._tell_text(self._stop.flush())  # a stop string does not reach over a call
        self._tell_call(parsed)
