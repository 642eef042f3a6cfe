"""The client against a real engine process that holds a scripted model."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from engine import (
    BadModelFile,
    BranchRequest,
    BranchStart,
    ChatRequest,
    ContextOverflow,
    Effort,
    Engine,
    EngineDied,
    EngineError,
    Message,
    ModelNotFound,
    PrefillDelta,
    ScoreRequest,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolSpec,
    UnsupportedModel,
    Usage,
)
from tests.engine.conftest import ROOT, ModelFile
from tests.engine.host_process import all_left

READ = ToolSpec(name="read", description="Read a file.", parameters={"type": "object", "properties": {}})


def asking(text: str, **options) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=text),), **options)


async def told(engine: Engine, request: ChatRequest) -> list:
    return [delta async for delta in engine.chat(request)]


def text_of(deltas: list) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def test_chat(scripted: ModelFile):
    async with await Engine.open(scripted()) as engine:
        assert (engine.capabilities.model, engine.capabilities.family) == ("scripted", "qwen2")
        deltas = await told(engine, asking("say Hello 🦘"))
        assert isinstance(deltas[0], PrefillDelta)
        usage = deltas[-1]
        assert isinstance(usage, Usage)
        assert (usage.finish, usage.generated, usage.mean_logprob, usage.mean_entropy) == (
            "stop",
            11,
            -0.5,
            0.25,
        )
        assert bytes(usage.token_ids).decode() == "Hello 🦘"


async def test_length_and_stop(scripted: ModelFile):
    async with await Engine.open(scripted()) as engine:
        deltas = await told(engine, asking("say Hello", max_tokens=3))
        assert (text_of(deltas), deltas[-1].finish) == ("Hel", "length")
        deltas = await told(engine, asking("say one two three", stop=("two",)))
        assert (text_of(deltas), deltas[-1].finish) == ("one ", "stop")


async def test_tool_call(scripted: ModelFile):
    say = 'say Look.\\n<tool_call>\\n{"name": "read", "arguments": {"path": "a"}}\\n</tool_call>'
    async with await Engine.open(scripted()) as engine:
        deltas = await told(engine, asking(say, tools=(READ,)))
    (call,) = [delta.call for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert (call.name, call.arguments, call.problem) == ("read", '{"path": "a"}', None)
    assert deltas[-1].finish == "tool_call"


async def test_thinking_is_closed_when_its_budget_is_spent(scripted: ModelFile):
    async with await Engine.open(scripted()) as engine:
        deltas = await told(engine, asking("say 1234567890", effort=Effort.HIGH, thinking_budget=4))
    thought = "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
    assert thought == "1234"
    assert text_of(deltas) == "1234567890"
    ids = bytes(deltas[-1].token_ids).decode()
    assert ids == "<think>\n1234\n</think>\n\n1234567890"


async def test_score_branch_and_cost(scripted: ModelFile):
    async with await Engine.open(scripted()) as engine:
        scores = await engine.score(ScoreRequest(prefix="# x\n", text="ab", top=2))
        assert [(token.start, token.end, token.logprob) for token in scores] == [(0, 1, -1.0), (1, 2, -1.0)]
        assert [other.text for other in scores[0].alternatives] == ["b", "c"]
        starts = (BranchStart(index=0, token_id=ord("X")), BranchStart(index=4, token_id=ord("Y")))
        first, second = await engine.branch(BranchRequest(prefix="", text="abc\ndef", starts=starts))
        assert (first.text, first.tokens, first.stopped) == ("Xbc", 4, True)
        assert (second.text, second.stopped) == ("Yef", False)
        cost = await engine.cost(asking("say x"))
        assert (cost.cached, cost.seconds) == (7, cost.prefill / 1000)
        with pytest.raises(EngineError, match="cannot start at token 9"):
            await engine.branch(
                BranchRequest(prefix="", text="a", starts=(BranchStart(index=9, token_id=1),))
            )


async def test_a_failed_request_leaves_the_engine_alive(scripted: ModelFile):
    async with await Engine.open(scripted()) as engine:
        with pytest.raises(EngineError, match=r"failed on this request \(ValueError: as told\); the log is"):
            await told(engine, asking("fail"))
        with pytest.raises(ContextOverflow, match="do not fit into the model's 4,096 tokens"):
            await told(engine, asking("say " + "x" * 5000))
        assert text_of(await told(engine, asking("say still here"))) == "still here"


async def test_closing_the_iterator_cancels_within_one_token(scripted: ModelFile):
    async with asyncio.timeout(20), await Engine.open(scripted()) as engine:
        answer = engine.chat(asking("count 100000", max_tokens=3000))
        seen = 0
        async for delta in answer:
            seen += isinstance(delta, TextDelta)
            if seen == 5:
                break
        await answer.aclose()
        made = int(text_of(await told(engine, asking("made"))))
        assert made < 100  # three thousand were asked for; tokens made while the frames travelled are fine


async def test_cancelled_during_prefill(scripted: ModelFile):
    async with asyncio.timeout(20), await Engine.open(scripted()) as engine:
        answer = engine.chat(asking("read 600000"))
        assert isinstance(await anext(answer), PrefillDelta)
        await answer.aclose()
        assert text_of(await told(engine, asking("say next"))) == "next"


async def test_a_cancelled_task_cancels_its_request(scripted: ModelFile):
    async with asyncio.timeout(20), await Engine.open(scripted()) as engine:
        task = asyncio.create_task(told(engine, asking("read 600000")))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert text_of(await told(engine, asking("say next"))) == "next"


async def test_two_clients_share_one_process(scripted: ModelFile):
    model = scripted("slow")
    async with asyncio.timeout(20):
        first, second = await asyncio.gather(Engine.open(model), Engine.open(model))
        async with first, second:
            mine, theirs = await first.status(), await second.status()
            assert mine["pid"] == theirs["pid"]
            assert mine["clients"] == 2
            answers = await asyncio.gather(
                told(first, asking("say one")),
                told(second, asking("say two")),
                told(first, asking("say three")),
            )
            assert [text_of(deltas) for deltas in answers] == ["one", "two", "three"]


async def test_two_budgets_are_two_processes(scripted: ModelFile):
    model = scripted("budget")
    async with asyncio.timeout(20):
        opened = [await Engine.open(model, memory=memory) for memory in (None, 1 << 30, 1 << 30, 2 << 30)]
        told = [await engine.status() for engine in opened]
        for engine in opened:
            await engine.close(shutdown=True)
    assert [status["memory"] for status in told] == [None, 1 << 30, 1 << 30, 2 << 30]
    assert len({status["pid"] for status in told}) == 3 and told[1]["pid"] == told[2]["pid"]
    assert [engine.capabilities.context for engine in opened] == [4096, 1024, 1024, 2048]


async def test_hanging_up_cancels_and_lets_the_next_one_in(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(20), await Engine.open(model) as waiting:
        leaving = await Engine.open(model)
        answer = leaving.chat(asking("read 600000"))
        assert isinstance(await anext(answer), PrefillDelta)
        next_in_line = asyncio.create_task(told(waiting, asking("say my turn")))
        await asyncio.sleep(0.05)
        assert not next_in_line.done()
        await leaving.close()
        assert text_of(await next_in_line) == "my turn"


async def test_process_killed_in_the_middle(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(20):
        engine = await Engine.open(model)
        with pytest.raises(EngineDied, match=r"The engine process \(\d+\) went away"):
            await told(engine, asking("crash"))
        with pytest.raises(EngineDied):
            await told(engine, asking("say x"))
        with pytest.raises(EngineDied):
            await engine.cost(asking("say x"))
        await engine.close()
        async with await Engine.open(model) as again:
            assert text_of(await told(again, asking("say back"))) == "back"


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        ("bad", BadModelFile, "is truncated; fetch it again"),
        ("arch llama", UnsupportedModel, "architecture 'llama' are not supported"),
        ("memory", EngineError, "not enough memory"),
        ("fail", EngineError, r"failed \(ValueError: as told\)"),
        ("crash", EngineError, "went away while it loaded|as it started"),
    ],
)
async def test_loading_errors_reach_the_client(scripted: ModelFile, content: str, kind, sentence: str):
    async with asyncio.timeout(20):
        model = scripted(content)
        for _ in range(2):  # the second time a new process tries, and says the same
            with pytest.raises(kind, match=sentence):
                await Engine.open(model)
        await all_left()


async def test_loading_is_told(scripted: ModelFile):
    stages: list[tuple[str, float]] = []
    async with await Engine.open(scripted("slow"), on_progress=lambda *stage: stages.append(stage)):
        assert stages[0] == ("starting", 0.0)
        shares = [share for stage, share in stages if stage == "loading"]
        assert len(shares) > 2
        assert shares == sorted(shares)


async def test_no_such_model():
    with pytest.raises(ModelNotFound):
        await Engine.open("no-such-model")


async def test_a_process_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, scripted: ModelFile):
    from engine import launch

    broken = [sys.executable, "-I", "-c", "raise SystemExit('no torch here')"]
    monkeypatch.setattr(launch, "host_command", lambda *place: broken)
    with pytest.raises(EngineError, match=r"ended as it started \(exit status 1: no torch here\)"):
        await Engine.open(scripted())


def test_the_client_imports_no_torch(tmp_path: Path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import engine; "
        "loaded = {'torch', 'transformers', 'tokenizers', 'numpy', 'gguf'} & set(sys.modules); "
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-I", "-c", program, str(ROOT)], check=True, cwd=tmp_path)
