"""What a sequence keeps is whole after a cancel, and the same whether it was cut back, copied or fed anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.hosted import HostedModel
from engine.hosted.build import adapt, build, layout
from engine.hosted.cache import SNAPSHOTS, Attended, HostedCache, Layout, Recurrent
from engine.prefix_cache import PrefixCache
from tests.engine.hosted.tiny import ExpertsInMemory, load, tokens

Reference = Callable[..., Any]
MODELS = ["mistral4", "gpt_oss", "qwen3_next"]
SMALL_4 = {
    "model_type": "mistral4",
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "kv_lora_rank": 256,
    "qk_rope_head_dim": 64,
}
STEP = 1024


class Stop(Exception):
    pass


def stopping(at: int) -> Callable[[], None]:
    calls = iter(range(1000))

    def check() -> None:
        if next(calls) == at:
            raise Stop

    return check


def grown(model: HostedModel, *parts: list[int]) -> HostedCache:
    cache = model.new_cache()
    for part in parts:
        model.prefill(part, cache)
    return cache


def following(model: HostedModel, cache: HostedCache) -> torch.Tensor:
    return torch.cat([model.logits(model.prefill(part, cache)) for part in ([30, 31, 32], [33])])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("part", [tokens(9, seed=1), [44]], ids=["nine", "one"])
def test_a_cancel_in_any_layer_leaves_the_cache_whole(
    name: str, part: list[int], reference: Reference, device: str
):
    model = load(name, reference(name), device)
    ids = tokens(20)
    layers = len(model.new_cache().layout.layers)
    wanted = following(model, grown(model, ids))
    cache = grown(model, ids)
    for at in range(layers):
        with pytest.raises(Stop):
            model.prefill(part, cache, stopping(at))
        assert cache.ids == ids
    assert torch.equal(following(model, cache), wanted)
    with pytest.raises(Stop):
        model.prefill([1, 2], model.new_cache(), stopping(0))


@pytest.mark.parametrize("name", MODELS)
def test_cut_back_and_gone_on_is_as_fresh(name: str, reference: Reference, device: str):
    model = load(name, reference(name), device)
    ids = tokens(40)
    cache = grown(model, ids[:25])
    cache.snapshot()
    model.prefill(ids[25:], cache)
    wanted = following(model, grown(model, ids[:25]))
    twin = cache.copy(25)
    cache.truncate(25)

    assert twin.ids == cache.ids == ids[:25]
    assert torch.equal(following(model, cache), wanted)
    assert torch.equal(following(model, twin), wanted), "what the other wrote does not show"


def test_keys_and_values_can_be_cut_anywhere(reference: Reference):
    model = load("gpt_oss", reference("gpt_oss"))
    ids = tokens(40)
    cache = grown(model, ids)

    assert cache.cuttable
    assert [cache.reusable(n) for n in (0, 17, 40, 99)] == [0, 17, 40, 40]
    cache.truncate(17)
    torch.testing.assert_close(following(model, cache), following(model, grown(model, ids[:17])))


def test_a_recurrent_state_stands_only_where_it_was_kept(reference: Reference):
    model = load("qwen3_next", reference("qwen3_next"))
    ids, cache = tokens(40), model.new_cache()
    assert not cache.cuttable
    for start in range(0, 40, 8):
        cache.snapshot()
        model.prefill(ids[start : start + 8], cache)

    assert [cache.reusable(n) for n in (7, 8, 15, 16, 24, 39, 40)] == [0, 0, 0, 16, 24, 32, 40]
    state = cache.layout.state_bytes
    assert SNAPSHOTS == 3
    assert cache.bytes == STEP * cache.layout.token_bytes + 4 * state == cache.bytes_of(40)
    cache.truncate(24)
    assert [cache.reusable(n) for n in (23, 24, 40)] == [16, 24, 24]
    assert torch.equal(
        following(model, cache), following(model, grown(model, ids[:8], ids[8:16], ids[16:24]))
    )
    cache.truncate(0)
    assert cache.states == {} and cache.reusable(5) == 0


def test_growing_keeps_what_is_there(reference: Reference):
    model = load("mistral4", reference("mistral4"))
    ids = tokens(STEP + 3)
    cache = grown(model, ids[: STEP - 1])
    assert cache.capacity == STEP
    for each in ids[STEP - 1 :]:
        model.prefill([each], cache)

    assert cache.capacity == 2 * STEP
    whole = grown(model, ids)
    for n in range(len(cache.layout.layers)):
        torch.testing.assert_close(cache.read(n, 0, STEP + 3), whole.read(n, 0, STEP + 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_kept_in_16_bits_it_takes_half_and_answers_nearly_the_same(reference: Reference, dtype: torch.dtype):
    model, exact = (
        load("mistral4", reference("mistral4"), cache_dtype=kept) for kept in (dtype, torch.float32)
    )
    ids = tokens(30)
    off = (following(model, grown(model, ids)) - following(exact, grown(exact, ids))).abs().max()

    assert model.token_bytes * 2 == exact.token_bytes
    assert 0 < off < 0.1


def test_small_4_takes_23040_bytes_a_token():
    """36 layers of 256 + 64 values, whatever the number of heads; expanded it would be 589,824."""
    device = torch.device("cpu")
    model = build(SMALL_4, "small", device)
    adapt(model, _NoExperts(), "plain", "small")
    kept = layout(model, torch.bfloat16, torch.bfloat16, device)

    assert kept.layers == (Attended(1, 320, 256, latent=True),) * 36
    assert kept.token_bytes == 36 * (256 + 64) * 2 == 23_040
    assert HostedCache(kept).tokens_in(6 << 30) == 279_552


class _NoExperts(ExpertsInMemory):
    def __init__(self) -> None:
        pass


def test_the_prefix_cache_goes_on_from_a_snapshot_or_anew():
    kinds = (Recurrent((4, 2), (1, 2, 2)), Attended(1, 2, 2))
    kept = Layout(kinds, torch.float32, torch.float32, torch.device("cpu"))
    states = {0: kept.empty_state(kinds[0])}
    caches = PrefixCache(lambda: HostedCache(kept), 1 << 20)
    cache = caches.take(list(range(50)))
    assert isinstance(cache, HostedCache)
    for end in (20, 30):
        cache.reserve(end)
        cache.commit(list(range(len(cache), end)), states)
        cache.snapshot()
    cache.commit(list(range(30, 50)), states)
    caches.touch(cache)

    assert caches.longest([*range(29), 99]) == 20
    assert caches.longest(list(range(50)), keep=49) == 30
    assert caches.longest(list(range(60))) == 50
    assert caches.longest([*range(19), 99]) == 0
    side = caches.take([*range(29), 99])
    assert side is not cache and side.ids == list(range(20))
    assert caches.take([*range(60)]) is cache
