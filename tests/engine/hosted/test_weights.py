"""Dense weights: each is read once and held once, in the precision asked for; what is wrong is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadModelFile, UnsupportedModel
from engine.hosted import HostedModel, needs_of
from engine.hosted.precision import Int8Embedding, Int8Linear, Precision, StoredEmbedding
from tests.engine.hosted.tiny import (
    CONFIGS,
    MISTRAL,
    VOCABULARY,
    ExpertsInMemory,
    StateCheckpoint,
    StateWeight,
    expected,
    load,
    tokens,
)
from tests.engine.hosted.tiny import reference as made

Reference = Callable[..., Any]


class Counting(StateCheckpoint):
    """Notes how many values of float32 exist at once while a weight is read."""

    def __init__(self, config: dict[str, Any], model: Any):
        super().__init__(config, model)
        self.largest = 0

    def weight(self, name: str) -> StateWeight:
        counting = self

        class Counted(StateWeight):
            def rows(self, start: int, stop: int) -> torch.Tensor:
                return counting.noted(super().rows(start, stop))

            def floats(self) -> torch.Tensor:
                return counting.noted(super().floats())

        self.asked.append(name)
        return Counted(self.state[name])

    def noted(self, values: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, values.numel())
        return values


def held(model: HostedModel) -> int:
    """Bytes of parameters, buffers and packed weights."""
    total = 0
    for module in model._model.modules():
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if isinstance(module, Int8Linear):
            weight = module._linear._packed.unpack()[0]
            bias = module._linear._bias
            total += weight.numel() + weight.shape[0] * 4 + (0 if bias is None else bias.nbytes)
        elif isinstance(module, Int8Embedding):
            tensors = [module._rows, module._scales]
        total += sum(each.nbytes for each in tensors)
    return total


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_what_it_takes_is_known_before_it_is_read(name: str, precision: Precision, reference: Reference):
    model = load(name, reference(name), precision=precision)
    tables = sum(each.nbytes for each in model._model.buffers())
    names = StateCheckpoint(CONFIGS[name], reference(name)).names()
    needs = needs_of(CONFIGS[name], "tiny", precision=precision, names=names, experts=7, least_experts=3)

    assert needs.weights == held(model) - tables
    assert (needs.experts, needs.least_experts, needs.context) == (7, 3, model.context)
    assert needs.token_bytes == model.token_bytes
    assert needs.context_in(needs.cache(5000)) == model.new_cache().tokens_in(needs.cache(5000)) == 5120


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_every_weight_is_read_and_none_stays_empty(name: str, precision: str, reference: Reference):
    config, theirs = CONFIGS[name], reference(name)
    source, experts = StateCheckpoint(config, theirs), ExpertsInMemory(config, theirs)
    model = HostedModel.load(source, experts, precision=precision)  # pyright: ignore[reportArgumentType]

    assert sorted(source.asked) == sorted(source.state)
    for tensor in (*model._model.parameters(), *model._model.buffers()):
        assert not tensor.is_meta
    assert not any(".experts." in name for name, _ in model._model.named_parameters())


@pytest.mark.parametrize(("precision", "most"), [("float32", 4.3), ("bfloat16", 2.3), ("int8", 2.0)])
def test_a_weight_is_held_once(precision: str, most: float, reference: Reference):
    """By values stored: norms and the router stay float32 in all of them, `kv_b_proj` at int8 too."""
    config, theirs = CONFIGS["mistral4"], reference("mistral4")
    source = StateCheckpoint(config, theirs)
    experts = ExpertsInMemory(config, theirs)
    model = HostedModel.load(source, experts, precision=precision)  # pyright: ignore[reportArgumentType]
    values = sum(tensor.numel() for tensor in source.state.values())

    assert held(model) < most * values


def test_int8_is_packed_for_the_kernel_that_does_not_overflow(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
):
    """See engine.quantised; torch's default is another."""
    monkeypatch.setattr(torch.backends.quantized, "engine", "onednn")
    load("mistral", reference("mistral"), precision="int8")
    assert torch.backends.quantized.engine == "fbgemm"


def test_rows_are_quantised_a_few_at_a_time():
    theirs = made("mistral")
    source = Counting(CONFIGS["mistral"], theirs)
    model = HostedModel.load(source, precision="int8")

    assert source.largest <= 32 * 96 < VOCABULARY * 64
    assert isinstance(model._head, Int8Linear) and isinstance(model._decoder.embed_tokens, Int8Embedding)


@pytest.mark.parametrize("name", ["mistral4", "mistral", "gpt_oss", "qwen3_next"])
@pytest.mark.parametrize(("precision", "off"), [("bfloat16", 0.4), ("int8", 0.3)])
def test_fewer_bits_say_nearly_the_same(name: str, precision: str, off: float, reference: Reference):
    ids = tokens(30)
    model = load(name, reference(name), precision=precision)
    cache = model.new_cache()
    states = torch.cat([model.prefill(ids[:20], cache), model.prefill(ids[20:29], cache)])
    states = torch.cat([states, model.prefill(ids[29:], cache)])
    wanted = expected(reference(name), ids)

    assert states.dtype == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
    assert model.logits(states).dtype == torch.float32
    distance = (model.logits(states) - wanted).norm() / wanted.norm()
    assert 0 < distance < off


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_head_that_is_the_embedding_is_not_held_twice(precision: str):
    config = {**CONFIGS["mistral"], "tie_word_embeddings": True}
    theirs = made("mistral")
    theirs.lm_head.weight = theirs.model.embed_tokens.weight
    source = StateCheckpoint(config, theirs)
    del source.state["lm_head.weight"]
    model = HostedModel.load(source, precision=precision)  # pyright: ignore[reportArgumentType]
    ids = tokens(20)
    got, wanted = model.logits(model.prefill(ids, model.new_cache())), expected(theirs, ids)

    if precision == "int8":
        assert isinstance(model._head, Int8Linear)
        assert isinstance(model._decoder.embed_tokens, StoredEmbedding)
    else:
        assert model._head.weight is model._decoder.embed_tokens.weight
    assert (got - wanted).norm() / wanted.norm() < (1e-4 if precision == "float32" else 0.2)


@pytest.mark.parametrize("name", ["mistral3", "mistral3 over mistral4"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("said", [{}, {"tie_word_embeddings": True}], ids=["silent", "tied"])
def test_a_head_that_is_stored_is_used(
    name: str, precision: Precision, said: dict[str, bool], reference: Reference
):
    """transformers ties a `mistral3` whose config.json is silent; the file knows better."""
    theirs, config = reference(name), {**CONFIGS[name], **said}
    assert not torch.equal(theirs.lm_head.weight, theirs.get_input_embeddings().weight)
    model = HostedModel.load(
        StateCheckpoint(config, theirs),
        ExpertsInMemory(config, theirs),
        precision=precision,
        softmax_scale="plain",
    )
    ids = tokens(20)
    got, wanted = model.logits(model.prefill(ids, model.new_cache())), expected(theirs, ids)
    assert (got - wanted).norm() / wanted.norm() < (1e-4 if precision == "float32" else 0.3)


def test_without_a_head_a_silent_wrapper_is_tied_and_one_that_says_otherwise_lacks_it():
    theirs = made("mistral3")
    source = StateCheckpoint(CONFIGS["mistral3"], theirs)
    del source.state["lm_head.weight"]
    model = HostedModel.load(source)
    assert model._head.weight is model._decoder.embed_tokens.weight
    whole = needs_of(source.config, "tiny", precision="int8").weights
    tied = needs_of(source.config, "tiny", precision="int8", names=source.names()).weights
    assert whole - tied == VOCABULARY * (theirs.lm_head.in_features + 4)
    source.config = {**CONFIGS["mistral3"], "tie_word_embeddings": False}
    with pytest.raises(BadModelFile, match=r"tiny has no tensor lm_head\.weight;"):
        HostedModel.load(source)


@pytest.mark.parametrize("stored", ["language_model.model.", "model.language_model."])
def test_a_text_model_may_be_stored_within_a_wrapper(stored: str, reference: Reference):
    source = StateCheckpoint(CONFIGS["qwen3_5_moe"], reference("qwen3_5_moe"))
    renamed = {
        stored + name.removeprefix("model.") if name.startswith("model.") else name: tensor
        for name, tensor in source.state.items()
    }
    if stored == "model.language_model.":
        source.state = renamed
        HostedModel.load(source, ExpertsInMemory(CONFIGS["qwen3_5_moe"], reference("qwen3_5_moe")))
        return
    wrapper = StateCheckpoint(CONFIGS["mistral3"], reference("mistral3"))
    wrapper.state = {
        name.replace("model.language_model.", stored): tensor for name, tensor in wrapper.state.items()
    }
    HostedModel.load(wrapper)


def test_a_missing_tensor_is_named(reference: Reference):
    source = StateCheckpoint(CONFIGS["mistral"], reference("mistral"))
    del source.state["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(BadModelFile, match=r"tiny has no tensor model\.layers\.1\.mlp\.up_proj\.weight;"):
        HostedModel.load(source)


def test_a_tensor_of_another_shape_is_named(reference: Reference):
    source = StateCheckpoint(CONFIGS["mistral"], reference("mistral"))
    source.state["model.norm.weight"] = torch.ones(63)
    with pytest.raises(BadModelFile, match=r"model\.norm\.weight has the shape \[63\], .* needs \[64\]"):
        HostedModel.load(source)


def test_routed_experts_need_someone_who_holds_them(reference: Reference):
    with pytest.raises(BadModelFile, match="routed experts, but no weights"):
        HostedModel.load(StateCheckpoint(CONFIGS["mixtral"], reference("mixtral")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": "three"},
        {"num_hidden_layers": 0},
        {"num_attention_heads": 0},
        {"hidden_size": -1},
        {"hidden_size": [64]},
        {"rope_parameters": {"rope_type": "nonsense"}},
    ],
    ids=str,
)
def test_a_config_that_makes_no_model_is_one_sentence(wrong: dict[str, Any], reference: Reference):
    source = StateCheckpoint({**MISTRAL, **wrong}, reference("mistral"))
    with pytest.raises(BadModelFile) as refused:
        HostedModel.load(source)
    assert str(refused.value).startswith("tiny: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("context", [0, -1])
def test_a_context_of_nothing_is_one_sentence(context: int):
    with pytest.raises(BadModelFile, match=r"tiny: .* make no model"):
        needs_of({**MISTRAL, "max_position_embeddings": context}, "tiny", precision="int8")


def test_a_cache_of_nothing_is_one_sentence():
    config = {**CONFIGS["qwen3_next"], "layer_types": ["linear_attention"] * 4}
    with pytest.raises(BadModelFile, match="tiny: the sizes in its configuration make no model"):
        needs_of(config, "tiny", precision="int8")


def test_int8_on_a_gpu_is_refused(reference: Reference):
    with pytest.raises(UnsupportedModel, match="use bfloat16 on a GPU"):
        HostedModel.load(StateCheckpoint(MISTRAL, reference("mistral")), precision="int8", device="cuda")


def test_progress_ends_at_one(reference: Reference):
    shares: list[float] = []
    HostedModel.load(StateCheckpoint(MISTRAL, reference("mistral")), progress=shares.append)

    assert shares == sorted(shares) and len(shares) > 10
    assert shares[-1] == pytest.approx(1.0)


def test_the_runtime_does_not_import_transformers():
    """It takes seconds that the default model need not wait for."""
    code = "import sys; import engine.runtime; sys.exit('transformers' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=120).returncode == 0
