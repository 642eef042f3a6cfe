"""Each family that is hosted computes what transformers computes: 1e-4, float32, random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.errors import UnsupportedModel
from engine.hosted import families
from engine.hosted.families import hosted
from tests.engine.hosted.tiny import CONFIGS, expected, load, tokens

Reference = Callable[..., Any]
RECURRENT = ("qwen3_next", "qwen3_5_moe")


def in_parts(name: str, model: Any, ids: list[int], cuts: list[int]) -> torch.Tensor:
    """transformers' logits of a sequence fed in parts, with its own cache."""
    cache, found = None, []
    with torch.inference_mode():
        for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
            out = model(input_ids=torch.tensor([ids[start:end]]), cache=cache, use_cache=True)
            cache = out.cache
            found.append(out.logits[0])
    return torch.cat(found)


@pytest.mark.parametrize("name", CONFIGS)
def test_prefill_chunks_and_decode(name: str, reference: Reference, device: str):
    """Recurrent layers are compared with transformers fed the same parts: its formulas for one token and for
    many differ by more than ours from it."""
    ids, cuts = tokens(50), [1, 30, 45, 46, 47, 48, 49]
    model = load(name, reference(name), device)
    cache = model.new_cache()
    wanted = expected(reference(name), ids)
    torch.testing.assert_close(model.logits(model.prefill(ids, cache)), wanted, rtol=0, atol=1e-4)

    cache = model.new_cache()
    parts = [model.prefill(ids[a:b], cache) for a, b in zip([0, *cuts], [*cuts, 50], strict=True)]
    if name in RECURRENT:
        wanted = in_parts(name, reference(name), ids, cuts)
    torch.testing.assert_close(model.logits(torch.cat(parts)), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_branches(name: str, reference: Reference, device: str):
    ids, model = tokens(50), load(name, reference(name), device)
    cache = model.new_cache()
    model.prefill(ids, cache)
    lengths = [0, 4, 33, 50]
    branches = model.branches(cache, lengths, 12)
    taken: list[list[int]] = [[], [], [], []]
    for step in range(12):  # past the window of the sliding layers
        for row, each in enumerate(taken):
            each.append(20 + 7 * row + step)
        got = model.logits(branches.step([each[-1] for each in taken]))
        if step in (0, 5, 11):
            for row, length in enumerate(lengths):
                wanted = expected(reference(name), [*ids[:length], *taken[row]])[-1]
                torch.testing.assert_close(got[row], wanted, rtol=0, atol=5e-4 if name in RECURRENT else 1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cache_takes_what_its_formula_says(name: str, reference: Reference):
    model = load(name, reference(name))
    cache = model.new_cache()
    model.prefill(tokens(1100), cache)
    held = sum(buffer.nbytes for n in cache._buffers for buffer in cache.buffers(n))
    states = sum(state.conv.nbytes + state.recurrent.nbytes for state in cache.states.values())

    assert states == cache.layout.state_bytes
    assert bool(states) == (name in RECURRENT)
    assert cache.bytes == held + states == 2048 * model.token_bytes + states
    assert cache.tokens_in(cache.bytes_of(2048)) == 2048 and cache.tokens_in(cache.bytes_of(2048) - 1) < 2048


@pytest.mark.parametrize("kind", families.REFUSED)
def test_a_family_that_is_not_hosted_says_why(kind: str):
    with pytest.raises(UnsupportedModel) as refused:
        hosted({"model_type": kind}, "model")
    assert families.REFUSED[kind] in str(refused.value)
    assert str(refused.value).count(".") == 1


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {"model_type": None}], ids=str)
def test_an_unknown_family_hears_which_are_known(config: dict[str, Any]):
    with pytest.raises(UnsupportedModel, match="hosts gpt_oss, ministral3, mistral,"):
        hosted(config, "model")


def test_a_wrapper_over_an_unknown_text_model_is_refused():
    with pytest.raises(UnsupportedModel, match="mistral3 model over 'llama'"):
        hosted({"model_type": "mistral3", "text_config": {"model_type": "llama"}}, "model")
