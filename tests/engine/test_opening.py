"""A small random Mistral Small 4, from each layout of its files to answers of the engine process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import ChatRequest, Engine, Message, ToolSpec, Usage
from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, ModelNotFound
from engine.experts import PackedModel, convert
from engine.hosting import needs_of_checkpoint
from engine.memory_plan import LEAST_CONTEXT, shortfall
from engine.opening import open_hosted, open_tokenizer
from engine.request import Sampling
from engine.runtime import Runtime
from engine.sentencepiece_file import models_in
from engine.spm_tokenizer import SpmTokenizer
from tests.engine import random_checkpoints as random
from tests.engine.answering import answers_at_each_effort
from tests.engine.hosted.tiny import COMMON
from tests.engine.tekken_files import write_tekken
from tests.engine.test_spm_tokenizer import V1, V3

VOCABULARY = 131_072
TEXT = list(range(1000, 1024))
Write = Callable[[Any, Path], object]


def _packed(model: Any, folder: Path) -> None:
    source = folder.with_name("source")
    source.mkdir()
    random.write_hf(model, source)
    folder.rmdir()
    convert(open_checkpoint(source), folder, form="float32")


LAYOUTS: dict[str, Write] = {
    "hub": random.write_hf,
    "native": random.write_native,
    "packed": _packed,
}


@pytest.fixture(scope="module")
def model() -> Any:
    """Weights in bfloat16's grid, so that every layout here holds them exactly."""
    made = random.random_model(random.small_config(vocab_size=VOCABULARY, hidden_size=64))
    for weight in made.parameters():
        weight.data.copy_(weight.data.bfloat16().float())
    return made


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, model: Any, tmp_path: Path) -> Path:
    path = tmp_path / "small-4"
    path.mkdir()
    LAYOUTS[request.param](model, path)
    write_tekken(path, "v15")
    return path


def test_every_layout_gives_the_tokens_of_transformers(folder: Path, model: Any) -> None:
    runtime = Runtime.load(folder, threads=1, open_hosted=partial(open_hosted, precision="float32"))
    answer = runtime.generate(
        TEXT, max_tokens=12, sampling=Sampling(), stop_ids=frozenset(), cancelled=lambda: False
    )
    # The plain scale of scores is ours; transformers' own is brought to it.
    attention = [layer.self_attn for layer in model.model.language_model.layers]
    for each in attention:
        each.scaling = each.qk_head_dim**-0.5
    with torch.no_grad():
        told = model.generate(torch.tensor([TEXT]), max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert [sampled.token_id for sampled in answer] == told[0, len(TEXT) :].tolist()


async def test_the_engine_answers_from_a_folder(folder: Path) -> None:
    async with await Engine.open(str(folder), keep_alive=0) as engine:
        assert engine.capabilities.effort == "native" and engine.capabilities.images
        asked = await answers_at_each_effort(engine)
        # Both prefixes are kept: either effort goes on from its own.
        for request in asked:
            assert (await engine.cost(request)).prefill <= 2
        other = asked[0].messages[0].model_copy(update={"content": "And in b.py?"})
        assert (await engine.cost(ChatRequest(messages=(other,)))).prefill > 2


async def test_the_budget_decides_the_context_and_nothing_of_what_is_said(model: Any, tmp_path: Path) -> None:
    folder = tmp_path / "small-4"
    folder.mkdir()
    _packed(model, folder)
    write_tekken(folder, "v15")
    needs = needs_of_checkpoint(PackedModel(folder), "int8")
    least = shortfall(0, needs)
    with pytest.raises(EngineError, match=r"needs [\d,]+ MB of memory, and may take .*--memory"):
        await Engine.open(str(folder), keep_alive=0, memory=least - 1)

    said: list[list[int]] = []
    contexts: list[int] = []
    question = ChatRequest(messages=(Message(role="user", content="What is in a.py?"),), max_tokens=12)
    for memory in (least, least + needs.cache(8192)):
        async with await Engine.open(str(folder), keep_alive=0, memory=memory) as engine:
            contexts.append(engine.capabilities.context)
            *_, usage = [delta async for delta in engine.chat(question)]
            assert isinstance(usage, Usage)
            said.append(list(usage.token_ids))
    assert contexts[0] == LEAST_CONTEXT < contexts[1]
    assert said[0] == said[1]


async def test_mixtral_answers_with_its_own_tokenizer(tmp_path: Path) -> None:
    """The hub's layout, a SentencePiece model beside it, packed and asked."""
    config = {
        **COMMON, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 32_768,
        "num_key_value_heads": 2, "intermediate_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2,
        "sliding_window": None,
    }  # fmt: skip
    random.write_hf(random.random_model(config), tmp_path / "source")
    shutil.copyfile(V3, tmp_path / "source" / "tokenizer.model.v3")
    (tmp_path / "source" / "tokenizer.model.bak").write_bytes(b"left by somebody")
    packed = tmp_path / "packed"
    convert(open_checkpoint(tmp_path / "source"), packed, form="int8")
    assert [file.name for file in packed.glob("tokenizer*")] == ["tokenizer.model.v3"]
    tool = ToolSpec(name="read_file", description="", parameters={"type": "object"})
    async with await Engine.open(str(packed), keep_alive=0) as engine:
        assert (engine.capabilities.family, engine.capabilities.images) == ("mistral", False)
        request = ChatRequest(messages=(Message(role="user", content="Hi"),), tools=(tool,), max_tokens=8)
        *_, usage = [delta async for delta in engine.chat(request)]
        assert isinstance(usage, Usage) and usage.generated


def test_the_tokenizer_of_the_newest_template_is_taken(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model.v20").mkdir()
    shutil.copyfile(V1, tmp_path / "tokenizer.model")
    for name in (
        "tokenizer.model.bak",
        "tokenizer.model.v30.part",
        "tokenizer.modelx",
        "old_tokenizer.model.v9",
    ):
        (tmp_path / name).write_bytes(b"no tokenizer")
    plain = open_tokenizer(tmp_path)
    assert isinstance(plain, SpmTokenizer) and plain.version is None
    for newest in (3, 7, 11):
        shutil.copyfile(V3, tmp_path / f"tokenizer.model.v{newest}")
        found = open_tokenizer(tmp_path)
        assert isinstance(found, SpmTokenizer) and found.version == f"v{newest}"
    assert [file.name for file in models_in(tmp_path)] == [
        "tokenizer.model", "tokenizer.model.v3", "tokenizer.model.v7", "tokenizer.model.v11",
    ]  # fmt: skip


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="holds no model"):
        open_hosted(tmp_path)
