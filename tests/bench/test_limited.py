"""A model whose experts alone are larger than the memory that its engine process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.limited import VOCABULARY, run
from bench.memory_group import missing
from bench.random_model import small_4
from engine.experts.record import Geometry

LIMIT, TOKENS, LAYERS = 1_200_000_000, 8, 10
SIZES = {
    "hidden_size": 512, "moe_intermediate_size": 1024, "intermediate_size": 512, "num_attention_heads": 8,
    "num_key_value_heads": 8,
}  # fmt: skip


@pytest.mark.alone
def test_it_answers(tmp_path: Path) -> None:
    """Under the kernel's own limit, which ends a process that takes more."""
    if why := missing():
        pytest.skip(why)
    config = small_4(LAYERS, VOCABULARY, **SIZES)
    experts = LAYERS * config["n_routed_experts"] * Geometry("int4", 512, 1024).bytes
    assert experts > LIMIT

    done = run(tmp_path, config, limit=LIMIT, tokens=TOKENS, words=60)

    assert [answer.generated for answer in done.answers] == [TOKENS, TOKENS]
    assert done.answers[1].cached > done.answers[0].cached == 0
    assert 0 < done.anonymous <= done.peak <= LIMIT
    assert done.store["taken"] <= done.store["budget"] < experts
    assert done.store["misses"] and done.store["bytes_read"] >= done.store["misses"] * experts / LAYERS / 128
    assert f"{done.parameters / 1e9:.1f} billion" in done.report
