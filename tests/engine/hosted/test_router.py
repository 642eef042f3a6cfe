"""The router computes in float32, decides ties as transformers does, and does not choose among numbers that
are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.errors import BadModelFile
from tests.engine.hosted.tiny import (
    CHOSEN,
    CONFIGS,
    PLAIN,
    ExpertsInMemory,
    HostedModel,
    StateCheckpoint,
    expected,
    load,
    tokens,
)
from tests.engine.hosted.tiny import reference as made

Reference = Callable[..., Any]
ROUTED = ["mistral4", "mixtral", "gpt_oss", "qwen3_moe", "qwen3_next", "qwen3_5_moe"]


def hosted(name: str, model: Any, **options: Any) -> tuple[HostedModel, ExpertsInMemory]:
    experts = ExpertsInMemory(CONFIGS[name], model)
    options = {"precision": "float32", **options}
    return HostedModel.load(StateCheckpoint(CONFIGS[name], model), experts, **options), experts


@pytest.mark.parametrize("name", ROUTED)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_weights_of_the_chosen_are_float32_and_sum_to_one(name: str, precision: str, reference: Reference):
    model, experts = hosted(name, reference(name), precision=precision)
    model.prefill(tokens(9), model.new_cache())

    assert {layer for layer, _, _ in experts.seen} == set(range(len(model.new_cache().layout.layers)))
    for _, index, weight in experts.seen:
        assert index.dtype == torch.int64 and weight.dtype == torch.float32
        assert index.shape == weight.shape == (9, 2 if name == "mixtral" else CHOSEN)
        assert all(len(set(row)) == len(row) for row in index.tolist())
        torch.testing.assert_close(weight.sum(dim=1), torch.ones(9), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["mistral4", "qwen3_moe"])
def test_ties_are_decided_as_transformers_decides_them(name: str):
    model = made(name, rope=PLAIN if name == "mistral4" else None)
    for layer in model.model.layers:
        layer.mlp.gate.weight.data.zero_()
    ids = tokens(12)
    ours, experts = hosted(name, model)
    got = ours.logits(ours.prefill(ids, ours.new_cache()))

    torch.testing.assert_close(got, expected(model, ids), rtol=0, atol=1e-4)
    assert all(torch.equal(weight, torch.full_like(weight, 1 / CHOSEN)) for _, _, weight in experts.seen)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("name", ["mistral4", "gpt_oss", "qwen3_next"])
def test_numbers_that_are_none_end_in_one_sentence(name: str, broken: float):
    """No expert is asked, and the cache is as it was."""
    model = made(name)
    ours, experts = hosted(name, model)
    cache = ours.new_cache()
    ours.prefill([20, 21], cache)
    ours._decoder.layers[1].input_layernorm.weight.data[0] = broken
    experts.seen.clear()
    with pytest.raises(BadModelFile, match=r"layer 1 are not finite, so no expert can be chosen: .*again\.$"):
        ours.prefill([22], cache)

    assert [layer for layer, _, _ in experts.seen] == [0]
    assert cache.ids == [20, 21]


@pytest.mark.parametrize("part", ["model.layers.2.mlp.down_proj.weight", "model.norm.weight"])
def test_a_dense_model_says_so_too(part: str):
    model = made("mistral")
    model.state_dict()[part].view(-1)[3] = float("nan")
    ours = load("mistral", model)
    cache = ours.new_cache()
    with pytest.raises(BadModelFile, match="not finite"):
        ours.prefill([20, 21], cache)
    assert cache.ids == []
