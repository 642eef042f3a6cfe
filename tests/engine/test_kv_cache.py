"""What keys and values take: by formula a token, never more than the budget; and the context they allow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine import runtime as runtime_module
from engine.kv_cache import STEP, KVCache
from engine.prefix_cache import PrefixCache
from engine.runtime import CACHE_BUDGET, Runtime
from tests.engine.tiny_gguf import CONTEXT, HEADS, HIDDEN, KV_HEADS, LAYERS

WEIGHTS_1_5B = 2040 << 20
"""Resident once it is loaded: bench/RESULTS.md."""
MOST = 3_000_000_000
AT_WORK = 200_000_000
"""For the attention mask and the activations of one chunk of a long prefill."""
SMALL = 1 << 10
"""Bytes a token of `small_cache`."""


def small_cache() -> KVCache:
    return KVCache(layers=4, kv_heads=2, head_dim=32)


@pytest.mark.parametrize(
    ("layers", "kv_heads", "head_dim", "token_bytes", "context"),
    [(28, 2, 128, 28_672, 18_432), (24, 2, 64, 12_288, 43_008)],
    ids=["1.5B", "0.5B"],
)
def test_bytes_a_token_and_the_context_they_allow(
    layers: int, kv_heads: int, head_dim: int, token_bytes: int, context: int
):
    cache = KVCache(layers, kv_heads, head_dim)

    assert cache.token_bytes == 2 * layers * kv_heads * head_dim * 2 == token_bytes
    assert cache.tokens_in(CACHE_BUDGET) == context == CACHE_BUDGET // token_bytes // STEP * STEP
    assert cache.bytes_of(context) <= CACHE_BUDGET < cache.bytes_of(context + 1)


def test_the_default_model_stays_under_3_gb():
    widened = 2 * KVCache(28, 2, 128).tokens_in(CACHE_BUDGET) * 2 * 128 * 4

    assert WEIGHTS_1_5B + CACHE_BUDGET + widened + AT_WORK < MOST


def test_the_buffers_are_what_the_formula_says():
    cache = small_cache()
    cache.reserve(STEP + 1)
    held = sum(buffer.numel() * buffer.element_size() for buffer in (*cache._keys, *cache._values))

    assert cache.bytes == held == 2 * STEP * SMALL == cache.bytes_of(1)


def test_what_is_written_is_read_in_float32_beside_another_cache():
    cache, other = small_cache(), small_cache()
    keys, values = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    for each in (cache, other):
        each.reserve(5)
    cache.write(3, 0, keys, values)
    other.write(3, 0, values, keys)
    cache.commit([1, 2, 3, 4, 5])
    read = cache.copy(4).read(3, 4)

    assert [tensor.dtype for tensor in read] == [torch.float32] * 2
    for got, given in zip(read, (keys, values), strict=True):
        torch.testing.assert_close(got, given[:, :4], rtol=2**-11, atol=1e-6)


def test_the_context_is_what_the_memory_holds(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    assert Runtime.load(tiny_model, threads=1).context == CONTEXT
    a_token = 2 * LAYERS * KV_HEADS * (HIDDEN // HEADS) * 2
    monkeypatch.setattr(runtime_module, "CACHE_BUDGET", 256 * a_token)
    monkeypatch.setattr("engine.kv_cache.STEP", 128)

    assert Runtime.load(tiny_model, threads=1).context == 256


def test_the_budget_holds_while_sequences_grow():
    """Also where a prefix would have to be copied beside the sequence that has it."""
    budget = 4 * STEP * SMALL
    kept = PrefixCache(small_cache, budget)
    lengths = ((1, 1), (2, 2), (3, 1), (2, 4), (4, 3), (5, 1))
    conversations = [[seed] * STEP * steps for seed, steps in lengths]
    side_request = [5] * 9 + [6] * STEP * 3
    for ids in (*conversations, side_request, [5] * STEP):
        cache = kept.take(ids, keep=len(ids) - 1)
        cache.reserve(len(ids))
        assert kept.bytes <= budget
        assert isinstance(cache, KVCache)
        cache.commit(ids[len(cache) :])
        kept.touch(cache)

    assert kept.longest([4] * STEP * 3) == 0
    assert kept.longest([5] * STEP) == STEP
