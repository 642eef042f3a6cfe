"""Reads a model's answer as it streams: thinking, text and tool calls out of plain text.

What is told does not depend on how the text was cut into pieces: a decision is only taken on text that
can no longer mean something else, and until then the text is held back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.families.calls import CALL_CLOSE, CALL_OPEN, FENCE, CallScanner, looks_like_call, read_calls
from engine.families.telling import Piece, Telling, beginning_at_end, cut
from engine.request import TextDelta, ThinkingDelta

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


class AnswerParser(Telling):
    """One answer, fed piece by piece; `feed` and `finish` return what has become certain.

    `tools` are the known tool names (with none, a call's marks are text); `thinking` says that the prompt
    already opened the thinking; `ids` begins the call ids and should be unique in the conversation.
    """

    def __init__(self, *, thinking: bool = False, **options: Any):
        super().__init__(**options)
        self._step: Callable[[bool], bool] = self._thinking if thinking else self._beginning
        self._held = ""
        self._blank = ""  # read, but told only when more text follows in the same part
        self._fresh = thinking  # blanks at the beginning of a part are dropped
        self._line_start = True
        self._scanner = CallScanner()
        self._fenced = False

    @property
    def thinking(self) -> bool:
        return self._step == self._thinking

    @property
    def stopped(self) -> bool:
        """A stop string was met."""
        return self._stop.hit

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        return self._run(end=False)

    def finish(self, *, truncated: bool = False) -> list[Piece]:
        """Tell what was held back. `truncated`: the token budget ended the answer, not the model."""
        self._truncated = truncated
        told = self._run(end=True)
        if self._step in (self._marked_call, self._bare_call):
            self._step(True)  # nothing at all came after its opening
        if self._step == self._text and not self.stopped:
            self._tell(self._stop.flush())
            self._out.extend([TextDelta(text=self._blank)] if self._blank else [])
        self.done = True
        return told + self._take()

    def _run(self, *, end: bool) -> list[Piece]:
        while self._held and not self.done and self._step(end):
            pass
        return self._take()

    # Each step reads from `_held`, as far as it is certain (all of it at the end); True asks for another.

    def _beginning(self, end: bool) -> bool:
        text = self._held.lstrip()
        if not end and THINK_OPEN.startswith(text):
            return False
        if text.startswith(THINK_OPEN):
            self._held = text.removeprefix(THINK_OPEN)
            self._enter(self._thinking)
        else:
            self._step = self._text
        return True

    def _enter(self, step: Callable[[bool], bool]) -> None:
        self._step, self._fresh, self._line_start, self._blank = step, True, True, ""

    def _thinking(self, end: bool) -> bool:
        if self._line_start and self._tools:
            # A model that forgets to close its thinking still opens its call on a line of its own.
            line = self._held.lstrip(" \t")
            if line.startswith(CALL_OPEN):
                self._enter(self._text)
                return True
            if not end and CALL_OPEN.startswith(line):
                return False
        self._line_start = False
        close, line_end = self._held.find(THINK_CLOSE), self._held.find("\n") + 1
        if close >= 0 and (not line_end or close < line_end):
            self._think(close)
            self._held = self._held.removeprefix(THINK_CLOSE)
            self._enter(self._beginning)  # some open a second thought
            return True
        if line_end:
            self._think(line_end)
            self._line_start = True
            return True
        self._think(len(self._held) - (0 if end else beginning_at_end(self._held, THINK_CLOSE)))
        return False

    def _think(self, length: int) -> None:
        text, self._held = cut(self._held, length)
        if said := self._without_blanks(text):
            self._out.append(ThinkingDelta(text=said))

    def _text(self, end: bool) -> bool:
        if not self._tools:
            text, self._held = self._held, ""
            self._tell(self._stop.feed(text))
            return False
        if self._line_start:
            at = looks_like_call(self._held, self._tools)
            if at is None and not end:
                return False
            if at is not None and at >= 0:
                self._open_call(self._bare_call, at)
                return True
        self._line_start = False
        mark, line_end = self._held.find(CALL_OPEN), self._held.find("\n") + 1
        if mark >= 0 and (not line_end or mark < line_end):
            self._read_text(mark)
            if not self.done:
                self._open_call(self._marked_call, len(CALL_OPEN))
            return True
        if line_end:
            self._read_text(line_end)
            self._line_start = True
            return True
        self._read_text(len(self._held) - (0 if end else beginning_at_end(self._held, CALL_OPEN)))
        return False

    def _read_text(self, length: int) -> None:
        text, self._held = cut(self._held, length)
        self._tell(self._stop.feed(text))
        self.done = self.stopped

    def _tell(self, text: str) -> None:
        said = self._without_blanks(text)
        if not self._tools:
            said, self._blank = said + self._blank, ""
        if said:
            self._out.append(TextDelta(text=said))
        self.done = self.stopped

    def _without_blanks(self, text: str) -> str:
        """The text and the blanks held before it; blanks at its own end are held in turn."""
        text = self._blank + text
        if self._fresh:
            text = text.lstrip()
        said = text.rstrip()
        self._blank = text[len(said) :]
        self._fresh = self._fresh and not said
        return said

    def _open_call(self, step: Callable[[bool], bool], skip: int) -> None:
        self._tell(self._stop.flush())
        self._fenced = step == self._bare_call and self._held.lstrip().startswith(FENCE)
        self._held = self._held[skip:]
        self._scanner = CallScanner()
        self._step = step

    def _marked_call(self, end: bool) -> bool:
        at = self._scanner.mark_end(self._held)
        if at is None and not end:
            return False
        if at is None:  # a quote too many or too few hid the mark, or there is none
            first = self._held.find(CALL_CLOSE)
            at = len(self._held) if first < 0 else first
        self._close_call(at)
        return True

    def _bare_call(self, end: bool) -> bool:
        at = self._scanner.object_end(self._held, fenced=self._fenced)
        if at is None and not end:
            return False
        self._close_call(len(self._held) if at is None else at)
        return True

    def _close_call(self, at: int) -> None:
        body, self._held = cut(self._held, at)
        cut_off = self._truncated and not self._held
        for call in read_calls(body, self._tools, truncated=cut_off):
            self._tell_call(call)
        self._step = self._after_call

    def _after_call(self, end: bool) -> bool:
        """Another call may follow. Prose does not count: small models go on to invent the tool's answer."""
        self._held = self._held.lstrip()
        closers = (CALL_CLOSE, FENCE) if self._fenced else (CALL_CLOSE,)
        for closer in closers:
            if self._held.startswith(closer):
                self._held = self._held.removeprefix(closer)
                self._fenced = self._fenced and closer != FENCE
                return True
        if self._held.startswith(CALL_OPEN):
            self._open_call(self._marked_call, len(CALL_OPEN))
            return True
        at = looks_like_call(self._held, self._tools)
        if at is not None and at >= 0:
            self._open_call(self._bare_call, at)
            return True
        begun = at is None or any(mark.startswith(self._held) for mark in (CALL_OPEN, *closers))
        self.done = end or not begun
        return False
