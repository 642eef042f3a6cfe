"""What all readers of answers share: what they have to tell, stop strings, and calls that are numbered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.families.calls import ParsedCall
from engine.request import TextDelta, ThinkingDelta, ToolCall, ToolCallDelta

Piece = ThinkingDelta | TextDelta | ToolCallDelta


class StopFilter:
    """Passes text on up to the first stop string, which may come in pieces."""

    def __init__(self, stops: Sequence[str]):
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """The part of the text so far that is certainly before any stop string."""
        if self.hit:
            return ""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            return self._held[: min(found)]
        keep = max((beginning_at_end(self._held, stop) for stop in self._stops), default=0)
        passed, self._held = cut(self._held, len(self._held) - keep)
        return passed

    def flush(self) -> str:
        """What was held back, once nothing can complete a stop string any more."""
        held, self._held = "" if self.hit else self._held, ""
        return held


class Telling:
    """Base of the readers. `tools` are the known tool names, `stop` what ends the answer; `ids` begins the
    call ids and should be unique in the conversation."""

    def __init__(self, *, tools: Collection[str] = (), stop: Sequence[str] = (), ids: str = "call"):
        self._tools = frozenset(tools)
        self._stop = StopFilter(stop)
        self._ids = ids
        self._truncated = False
        self._out: list[Piece] = []
        self.calls = 0
        self.done = False
        """What follows means nothing any more: a stop string was met, or prose came after a tool call."""

    def _take(self) -> list[Piece]:
        out, self._out = self._out, []
        return out

    def _tell_call(self, parsed: ParsedCall) -> None:
        call = ToolCall(
            id=f"{self._ids}_{self.calls}",
            name=parsed.name,
            arguments=parsed.arguments,
            problem=parsed.problem,
        )
        self._out.append(ToolCallDelta(call=call))
        self.calls += 1


def beginning_at_end(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`; 0 to len(mark) - 1."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0


def cut(text: str, at: int) -> tuple[str, str]:
    return text[:at], text[at:]
