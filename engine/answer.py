"""One chat answer: from the request through the family's prompt and the runtime to deltas."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from engine.errors import ContextOverflow
from engine.families import Family
from engine.families.telling import Piece
from engine.families.vocabulary import Pictures
from engine.model import Cancelled, Model
from engine.request import ChatRequest, Effort, PrefillDelta, ToolCallDelta, Usage

Emit = Callable[[PrefillDelta | Piece | Usage], None]


@dataclass
class _Tally:
    """What one answer came to."""

    prompt: int
    ids: list[int] = field(default_factory=list)
    """Forced tokens included: with them the turn is fed back as the model saw it."""
    cached: int = 0
    generated: int = 0
    logprobs: float = 0.0
    entropies: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    first: float | None = None

    def usage(self, finish: Literal["stop", "length", "tool_call"]) -> Usage:
        now, first = time.perf_counter(), self.first
        return Usage(
            prompt=self.prompt,
            cached=self.cached,
            generated=self.generated,
            token_ids=tuple(self.ids),
            finish=finish,
            prefill_seconds=(first or now) - self.started,
            decode_seconds=now - first if first else 0.0,
            mean_logprob=self.logprobs / self.generated if self.generated else None,
            mean_entropy=self.entropies / self.generated if self.generated else None,
        )


class Answer:
    """Generates one answer, telling `emit` each delta; the last is the usage.

    `max_tokens` bounds what is said and called, `thinking_budget` the thinking. What a cancelled
    model raises goes through `run`.
    """

    def __init__(
        self,
        model: Model,
        family: Family,
        request: ChatRequest,
        emit: Emit,
        cancelled: Cancelled,
        pictures: Pictures | None = None,
    ):
        """Raises ContextOverflow where prompt and answer do not fit together."""
        self._model, self._family, self._request = model, family, request
        self._emit, self._cancelled = emit, cancelled
        self._prompt = family.encode(request, pictures)
        self._parser = family.parser(request)
        opening = family.opening(request)
        self._tally = _Tally(len(self._prompt) + len(opening), list(opening))
        thinking = request.thinking_budget + len(family.think_close) if self._may_think() else 0
        needed = self._tally.prompt + thinking + request.max_tokens
        if needed > model.context:
            raise ContextOverflow(
                f"The prompt of {self._tally.prompt:,} tokens and an answer of up to "
                f"{thinking + request.max_tokens:,} do not fit into the model's {model.context:,} tokens; "
                "shorten the conversation or ask for a shorter answer."
            )

    def _may_think(self) -> bool:
        """Whether room is kept for a thought. Some models think unasked; they take what room there is."""
        asked = self._request.effort is Effort.HIGH and self._family.effort != "unsupported"
        return asked or self._parser.thinking

    def run(self) -> None:
        """Thought and speech have a budget each, however often the model goes from one to the other."""
        parser = self._parser
        left = {True: self._request.thinking_budget, False: self._request.max_tokens}
        finished = parser.done
        while not finished and len(self._prompt) + len(self._tally.ids) < self._model.context:
            thinking = parser.thinking
            ended = False
            if left[thinking]:
                before = self._tally.generated
                ended = self._generate(
                    left[thinking],
                    lambda was=thinking: not parser.done and parser.thinking == was,
                )
                left[thinking] -= self._tally.generated - before
            if parser.thinking and thinking:  # budget spent, or the model stopped without an answer
                self._force(self._family.think_close)
                if parser.thinking:
                    break
            elif parser.done or (ended and not thinking):
                finished = True
            elif parser.thinking == thinking:
                break
        self._tell(parser.finish(truncated=not finished))
        self._emit(self._tally.usage(self._finish(finished)))

    def _finish(self, finished: bool) -> Literal["stop", "length", "tool_call"]:
        if self._parser.calls:
            return "tool_call"
        return "stop" if finished else "length"

    def _generate(self, limit: int, wanted: Callable[[], bool]) -> bool:
        """Go on for at most `limit` tokens while they are wanted; True where the model ended the answer."""
        tally = self._tally
        first_part = tally.first is None
        steps = self._model.generate(
            self._prompt + tally.ids,
            max_tokens=limit,
            sampling=self._request.sampling,
            stop_ids=self._family.end_ids,
            cancelled=self._cancelled,
            on_prefill=self._on_prefill if first_part else _ignore,
            lane=lane(self._family, self._request),
        )
        for sampled in steps:
            if tally.first is None:
                tally.first = time.perf_counter()
                tally.cached = self._model.last_cached
            tally.generated += 1
            tally.logprobs += sampled.logprob
            tally.entropies += sampled.entropy
            if sampled.token_id in self._family.end_ids:
                return True
            tally.ids.append(sampled.token_id)
            self._tell(self._parser.push(sampled.token_id))
            if not wanted():
                return False
        return False

    def _force(self, ids: tuple[int, ...]) -> None:
        self._tally.ids.extend(ids)
        for token_id in ids:
            self._tell(self._parser.push(token_id))

    def _on_prefill(self, done: int, total: int) -> None:
        self._emit(PrefillDelta(done=done, total=total))

    def _tell(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, ToolCallDelta) or piece.text:
                self._emit(piece)


def _ignore(done: int, total: int) -> None:
    """The prefill of a few forced tokens is not worth telling."""


def lane(family: Family, request: ChatRequest) -> str:
    """Which of the kept prefixes this request goes on from: one an effort, where effort changes the start."""
    return request.effort.value if family.effort_at_start else ""
