"""Latent attention over mistral4's shape is transformers' own function, to 1e-4 in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.hosted import HostedModel, latent
from engine.hosted import attention as attention_module
from engine.hosted.cache import HostedCache
from tests.engine.hosted.tiny import CONFIGS, LATENT, LAYERS, PLAIN, ROPE, TRAINED, expected, load, tokens
from tests.engine.hosted.tiny import reference as made

Reference = Callable[..., Any]
LAST = 262_143
"""Of the 256K that the model's card promises."""


def close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


@pytest.fixture
def model(reference: Reference, device: str) -> HostedModel:
    return load("mistral4", reference("mistral4"), device)


def fed(model: HostedModel, parts: list[list[int]], cache: HostedCache | None = None) -> torch.Tensor:
    cache = model.new_cache() if cache is None else cache
    return torch.cat([model.logits(model.prefill(part, cache)) for part in parts])


def test_a_prefill(model: HostedModel, reference: Reference):
    ids = tokens(61)

    close(fed(model, [ids]), expected(reference("mistral4"), ids))


@pytest.mark.parametrize("cuts", [[1], [7], [30, 31, 59], list(range(1, 61))], ids=str)
def test_chunks_and_single_tokens(model: HostedModel, reference: Reference, cuts: list[int]):
    ids = tokens(61)
    parts = [ids[start:end] for start, end in zip([0, *cuts], [*cuts, 61], strict=True)]

    close(fed(model, parts), expected(reference("mistral4"), ids))


@pytest.mark.parametrize("tokens_at_once", [1, 16, 1000])
def test_expanded_blocks_are_the_same_attention(
    model: HostedModel, reference: Reference, monkeypatch: pytest.MonkeyPatch, tokens_at_once: int
):
    monkeypatch.setattr(latent, "EXPAND_FROM", tokens_at_once)
    ids = tokens(61)

    close(fed(model, [ids[:30], ids[30:40], ids[40:]]), expected(reference("mistral4"), ids))


def test_in_blocks_of_few_scores(model: HostedModel, reference: Reference, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention_module, "SCORE_BYTES", 1 << 10)
    monkeypatch.setattr(attention_module, "LEAST_BLOCK", 16)
    ids = tokens(61)

    close(fed(model, [ids[:20], ids[20:]]), expected(reference("mistral4"), ids))


def test_no_score_matrix_is_larger_than_the_bound(model: HostedModel, monkeypatch: pytest.MonkeyPatch):
    bound, seen = 64 << 10, []
    monkeypatch.setattr(attention_module, "SCORE_BYTES", bound)
    with_block = attention_module._with_block

    def noted(before: Any, scores: torch.Tensor, values: torch.Tensor) -> Any:
        seen.append(scores.numel() * scores.element_size())
        return with_block(before, scores, values)

    monkeypatch.setattr(attention_module, "_with_block", noted)
    fed(model, [tokens(700), tokens(300), [5]])

    assert len(seen) > 3 * LAYERS
    assert max(seen) <= bound < 4 * 4 * 300 * 1000, "or there would be nothing to bound"


@pytest.mark.parametrize("first", [TRAINED - 20, 3 * TRAINED - 5, LAST - 39])
def test_positions_beyond_the_trained_ones(model: HostedModel, reference: Reference, first: int):
    ids, places = tokens(40), list(range(first, first + 40))
    cache = model.new_cache()
    parts = [(0, 25), (25, 39), (39, 40)]
    got = [model.prefill(ids[a:b], cache, positions=places[a:b]) for a, b in parts]

    close(model.logits(torch.cat(got)), expected(reference("mistral4"), ids, places))


def test_a_text_longer_than_the_trained_one(device: str):
    """Without explicit positions: fed in chunks past 8,192. One layer, as transformers takes its time."""
    theirs = made("mistral4", rope=PLAIN)
    model = load("mistral4", theirs, device)
    theirs.model.layers, model._decoder.layers = theirs.model.layers[:1], model._decoder.layers[:1]
    ids = tokens(TRAINED + 40)
    cache = model.new_cache()
    for start in range(0, TRAINED, 2048):
        model.prefill(ids[start : start + 2048], cache)
    got = fed(model, [ids[TRAINED:-2], ids[-2:-1], ids[-1:]], cache)

    close(got, expected(theirs, ids, logits_to_keep=40))


def test_the_scale_of_transformers_is_a_switch(reference: Reference, device: str):
    """`yarn` is transformers as it is; `plain` has scores that are smaller by 2.2 at a factor of 128."""
    as_it_is = reference("mistral4", as_it_is=True)
    ids = tokens(61)
    wanted = expected(as_it_is, ids)
    switched = load("mistral4", as_it_is, device, softmax_scale="yarn")
    plain = load("mistral4", as_it_is, device, softmax_scale="plain")

    close(fed(switched, [ids[:40], ids[40:]]), wanted)
    close(fed(plain, [ids]), expected(reference("mistral4"), ids))
    assert (fed(plain, [ids]) - wanted).abs().max() > 1e-2
    scales = [each._decoder.layers[0].self_attn.scale for each in (switched, plain)]
    assert scales[0] / scales[1] == pytest.approx(2.20583, abs=1e-5)


@pytest.mark.parametrize(
    ("said", "meant"),
    [({}, "plain"), ({"yarn_apply_scale": False}, "plain"), ({"yarn_apply_scale": True}, "yarn")],
)
@pytest.mark.parametrize("name", ["mistral4", "mistral3 over mistral4"])
def test_the_scale_that_the_checkpoint_states(
    reference: Reference,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: dict[str, bool],
    meant: str,
):
    """In the text's own configuration, within a wrapper as well; where nothing is said, the plain one."""
    config = CONFIGS[name]
    text = {**config.get("text_config", config), **said}
    monkeypatch.setitem(CONFIGS, name, {**config, "text_config": text} if "text_config" in config else text)
    stated = load(name, reference(name), device, softmax_scale="stated")
    named = load(name, reference(name), device, softmax_scale=meant)

    attention, wanted = (each._decoder.layers[0].self_attn for each in (stated, named))
    assert attention.scale == wanted.scale
    close(fed(stated, [tokens(20)]), fed(named, [tokens(20)]))


def test_branches_are_what_each_is_alone(model: HostedModel, reference: Reference):
    ids, cache = tokens(61), model.new_cache()
    model.prefill(ids, cache)
    lengths, taken = [0, 1, 20, 20, 61], [[n, n + 1, n + 2] for n in (11, 20, 30, 40, 50)]
    branches = model.branches(cache, lengths, 3)
    for step in range(3):
        if step == 2:
            lengths, taken = lengths[1::2], taken[1::2]
            branches.keep([1, 3])
        got = model.logits(branches.step([each[step] for each in taken]))
        for row, (length, each) in enumerate(zip(lengths, taken, strict=True)):
            wanted = expected(reference("mistral4"), [*ids[:length], *each[: step + 1]])
            close(got[row], wanted[-1])
    assert cache.ids == ids


def test_the_cache_holds_latents_alone(model: HostedModel):
    cache = model.new_cache()
    model.prefill(tokens(1500), cache)
    held = sum(buffer.nbytes for n in range(LAYERS) for buffer in cache.buffers(n))

    assert model.token_bytes == LAYERS * (LATENT + ROPE) * 4
    assert cache.bytes == held == 2048 * model.token_bytes
    assert cache.tokens_in(10 * held + 1) == 20480
