"""One kept prefix an effort: a side request at high leaves the main conversation as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import runtime as runtime_module
from engine.answer import Answer
from engine.families.mistral import Mistral
from engine.jobs import _cost
from engine.kv_cache import STEP, KVCache
from engine.prefix_cache import PrefixCache
from engine.request import ChatRequest, Effort, Message, Usage
from engine.runtime import Runtime
from tests.engine.tiny_gguf import write_tiny_gguf

MARKS = [
    "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "[ARGS]",
    "[CALL_ID]", "[THINK]", "[/THINK]", "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]",
]  # fmt: skip
SYSTEM = Message(role="system", content="You are careful. " * 3)
MAIN = ChatRequest(
    messages=(SYSTEM, Message(role="user", content="Read the file, please. " * 8)), max_tokens=12
)
SIDE = ChatRequest(
    messages=(SYSTEM, Message(role="user", content="In short: what is wrong?")),
    effort=Effort.HIGH,
    max_tokens=12,
    thinking_budget=12,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, its special tokens those of a Mistral."""
    return write_tiny_gguf(tmp_path_factory.mktemp("lanes") / "tiny.gguf", special=MARKS, end="</s>")


@pytest.fixture
def runtime(model: Path) -> Runtime:
    return Runtime.load(model, threads=1)


def ask(runtime: Runtime, request: ChatRequest) -> Usage:
    told: list = []
    Answer(runtime, Mistral(runtime.tokenizer), request, told.append, lambda: False).run()
    assert isinstance(told[-1], Usage)
    return told[-1]


def grown(request: ChatRequest, usage: Usage) -> ChatRequest:
    """The conversation one turn later."""
    answered = Message(role="assistant", token_ids=usage.token_ids)
    more = Message(role="user", content="Go on.")
    return request.model_copy(update={"messages": (*request.messages, answered, more)})


def test_a_side_request_leaves_the_main_conversation_whole(runtime: Runtime) -> None:
    first = ask(runtime, MAIN)
    later = grown(MAIN, first)
    before = _cost(runtime, Mistral(runtime.tokenizer), later, {})

    side = ask(runtime, SIDE)

    assert 0 < side.cached < first.prompt
    assert _cost(runtime, Mistral(runtime.tokenizer), later, {}) == before
    assert before.prefill < 40
    assert ask(runtime, later).cached == before.cached


def test_each_effort_keeps_a_prefix_of_its_own(runtime: Runtime) -> None:
    """Going to and fro costs the new tokens alone, once both are there."""
    calm = MAIN
    high = MAIN.model_copy(update={"effort": Effort.HIGH, "thinking_budget": 12})
    for request in (calm, high):
        ask(runtime, request)
    for request in (calm, high, calm):
        usage = ask(runtime, request)
        assert usage.cached == usage.prompt - 1


def test_the_cost_says_what_a_switch_takes(runtime: Runtime) -> None:
    family = Mistral(runtime.tokenizer)
    usage = ask(runtime, MAIN)
    later = grown(MAIN, usage)
    high = later.model_copy(update={"effort": Effort.HIGH, "thinking_budget": 12})

    stay, switch = _cost(runtime, family, later, {}), _cost(runtime, family, high, {})

    assert stay.prefill < 40 < switch.prefill
    shared = len(family.encode(ChatRequest(messages=(SYSTEM,)))) + len('[{"reasoning_effort": "')
    assert abs(switch.cached - shared) <= 2, "what stands before the setting is shared"
    assert ask(runtime, high).cached == switch.cached


def test_the_answer_does_not_depend_on_what_was_asked_before(model: Path, runtime: Runtime) -> None:
    ask(runtime, MAIN)
    ask(runtime, SIDE)
    alone = Runtime.load(model, threads=1)

    assert ask(runtime, MAIN).token_ids == ask(alone, MAIN).token_ids
    assert ask(runtime, SIDE).token_ids == ask(Runtime.load(model, threads=1), SIDE).token_ids


def test_without_room_for_both_the_budget_still_holds(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.kv_cache.STEP", 32)
    small = Runtime.load(model, threads=1)._model.new_cache().bytes_of(320)
    monkeypatch.setattr(runtime_module, "CACHE_BUDGET", small)
    runtime = Runtime.load(model, threads=1)

    for request in (MAIN, SIDE, MAIN):
        ask(runtime, request)
        assert runtime._cache.bytes <= small


def fill(kept: PrefixCache, ids: list[int], lane: str) -> KVCache:
    cache = kept.take(ids, keep=len(ids) - 1, lane=lane)
    cache.reserve(len(ids))
    assert isinstance(cache, KVCache)
    cache.commit(ids[len(cache) :])
    kept.touch(cache)
    return cache


def test_the_newest_of_another_lane_goes_last() -> None:
    one = KVCache(2, 2, 16).bytes_of(STEP)
    kept = PrefixCache(lambda: KVCache(2, 2, 16), 3 * one)
    fill(kept, [1] * 9, "none")
    for seed in range(2, 7):  # five side requests, room for two beside the main conversation
        fill(kept, [seed] * 9, "high")

    assert kept.longest([1] * 9) == 9
    assert [kept.longest([seed] * 9) for seed in range(2, 7)] == [0, 0, 0, 9, 9]


def test_another_lane_is_copied_not_cut() -> None:
    """Even where nearly all of it stays: it is somebody else's conversation."""
    one = KVCache(2, 2, 16).bytes_of(STEP)
    kept = PrefixCache(lambda: KVCache(2, 2, 16), 4 * one)
    fill(kept, list(range(100)), "none")
    fill(kept, [*range(95), 7, 7], "high")
    assert kept.longest(list(range(100))) == 100
    fill(kept, [*range(95), 8], "high")
    assert kept.longest([*range(95), 7, 7]) == 95, "in its own lane a sequence is cut back in place"
