"""One answer: thoughts and speech have a budget each, and a thought that is too long is closed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.answer import Answer
from engine.errors import ContextOverflow
from engine.families.mistral import Mistral
from engine.families.prompt import Special, encode_parts
from engine.model import Tokenizer
from engine.request import ChatRequest, Effort, Message, TextDelta, ThinkingDelta, ToolCallDelta, Usage
from tests.engine.families.test_mistral import TOOLS
from tests.engine.families.test_mistral_reader import marked
from tests.engine.scripted_runtime import ScriptedRuntime, Step
from tests.engine.tekken_files import tokenizer


class Dictated(ScriptedRuntime):
    """Says the given text, `⟦MARK⟧` for tokens; after a forced close it goes on behind its own."""

    tokenizer: Tokenizer

    def __init__(self, text: str):
        super().__init__("mistral4")
        self.tokenizer = tokenizer()
        parts = [part if isinstance(part, str) else Special(part.name) for part in marked(text)]
        self._ids = [*encode_parts(parts, self.tokenizer), 2]
        self.asked: list[int] = []
        self._at = 0

    def generate(self, prompt: list[int], *, max_tokens: int, **options: Any) -> Iterator[Step]:
        self.asked.append(max_tokens)
        self.lanes.append(options["lane"])
        close = self.tokenizer.special["[/THINK]"]
        if self.asked[1:] and prompt[-1] == close and self._ids[self._at - 1] != close:
            self._at = self._ids.index(close, self._at) + 1 if close in self._ids[self._at :] else self._at
        for token_id in self._ids[self._at :][:max_tokens]:
            self._at += 1
            yield Step(token_id)


def answer(text: str, **options: Any) -> tuple[Dictated, list[Any]]:
    model, told = Dictated(text), []
    options = {"effort": Effort.HIGH, "tools": TOOLS} | options
    request = ChatRequest(messages=(Message(role="user", content="Go"),), **options)
    Answer(model, Mistral(model.tokenizer), request, told.append, lambda: False).run()
    return model, told


def said(told: list[Any], kind: type) -> str:
    return "".join(delta.text for delta in told if isinstance(delta, kind))


def usage(told: list[Any]) -> Usage:
    assert isinstance(told[-1], Usage)
    return told[-1]


def test_a_thought_within_its_budget() -> None:
    model, told = answer("⟦THINK⟧hm⟦/THINK⟧Done.", thinking_budget=50, max_tokens=20)

    assert (said(told, ThinkingDelta), said(told, TextDelta)) == ("hm", "Done.")
    assert usage(told).finish == "stop"
    assert model.asked == [20, 50, 19], "the opening mark counts as speech"
    assert set(model.lanes) == {"high"}
    assert model.tokenizer.decode(usage(told).token_ids) == "[THINK]hm[/THINK]Done."


def test_a_thought_that_is_too_long_is_closed() -> None:
    _, told = answer("⟦THINK⟧one two three four five six⟦/THINK⟧Done.", thinking_budget=3, max_tokens=20)

    assert said(told, TextDelta) == "Done."
    assert said(told, ThinkingDelta) == "one two three"
    ids = usage(told).token_ids
    assert tokenizer().decode(ids) == "[THINK]one two three[/THINK]Done."
    assert usage(told).generated == len(ids), "the forced close in, the end token not"


def test_a_model_that_stops_in_its_thought_still_answers() -> None:
    _, told = answer("⟦THINK⟧hm", thinking_budget=9, max_tokens=9)
    assert said(told, ThinkingDelta) == "hm"
    assert tokenizer().decode(usage(told).token_ids) == "[THINK]hm[/THINK]"


def test_a_second_thought_has_what_is_left() -> None:
    model, told = answer("⟦THINK⟧a b⟦/THINK⟧x⟦THINK⟧c d e f⟦/THINK⟧y", thinking_budget=5, max_tokens=20)
    assert said(told, TextDelta) == "xy"
    assert said(told, ThinkingDelta) == "a bc d"
    assert model.asked[1] == 5 and model.asked[3] == 2


def test_a_call_after_a_thought() -> None:
    _, told = answer('⟦THINK⟧a⟦/THINK⟧⟦TOOL_CALLS⟧read⟦ARGS⟧{"path": "b"}')
    (call,) = [delta.call for delta in told if isinstance(delta, ToolCallDelta)]
    assert (call.name, call.problem, usage(told).finish) == ("read", None, "tool_call")


def test_an_answer_that_is_too_long() -> None:
    _, told = answer("one two three four", effort=Effort.NONE, max_tokens=2)
    assert (said(told, TextDelta), usage(told).finish) == ("one two", "length")


def test_a_thought_without_being_asked_is_bounded_as_well() -> None:
    _, told = answer("⟦THINK⟧a b c d⟦/THINK⟧y", effort=Effort.NONE, thinking_budget=2, max_tokens=9)
    assert (said(told, ThinkingDelta), said(told, TextDelta)) == ("a b", "y")


def test_room_for_the_thought_is_kept_only_where_it_is_asked_for() -> None:
    answer("x", effort=Effort.NONE, thinking_budget=4000)
    with pytest.raises(ContextOverflow):
        answer("x", effort=Effort.HIGH, thinking_budget=4000)
