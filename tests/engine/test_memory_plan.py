"""How a model's memory is divided, and what is said where it is too little."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.machine_memory import RESERVE, all_memory, budget_of, free_memory, less_reserve
from engine.memory_plan import (
    ACTIVATION_BYTES,
    CHUNK,
    LEAST_CONTEXT,
    MOST_CHUNK,
    Needs,
    Plan,
    divide,
    divide_beside,
    shortfall,
)

MB = 10**6
DENSE = Needs(
    weights=2000 * MB, activations_a_token=50_000, token_bytes=20_000, state_bytes=0, context=32_768
)
SPARSE = replace(DENSE, experts=60_000 * MB, least_experts=100 * MB)


def test_a_dense_model_gets_its_whole_context_where_there_is_room() -> None:
    plan = divide(16_000 * MB, DENSE)
    assert (plan.cache, plan.experts, plan.chunk) == (32_768 * 20_000, 0, CHUNK)
    assert DENSE.context_in(plan.cache) == 32_768


def test_experts_that_all_fit_leave_the_rest_to_the_cache() -> None:
    plan = divide(70_000 * MB, SPARSE)
    assert (plan.cache, plan.experts, plan.chunk) == (32_768 * 20_000, SPARSE.experts, MOST_CHUNK)


def test_a_gpu_has_all_but_the_experts() -> None:
    plan = divide_beside(8000 * MB, 16_000 * MB, SPARSE)
    rest = SPARSE.weights + SPARSE.activations
    left = 8000 * MB - rest - 32_768 * 20_000
    assert plan == Plan(32_768 * 20_000, 16_000 * MB, SPARSE.chunk, left)
    assert divide_beside(rest + 100 * MB, 99_000 * MB, SPARSE) == Plan(100 * MB, SPARSE.experts, SPARSE.chunk)
    assert divide_beside(90_000 * MB, 10_000 * MB, SPARSE).device_experts == SPARSE.experts
    assert divide_beside(8000 * MB, 0, DENSE).device_experts == 0
    with pytest.raises(EngineError, match=r"needs 82 MB more of the GPU's memory"):
        divide_beside(rest, 16_000 * MB, SPARSE)
    with pytest.raises(EngineError, match="needs 90 MB more of memory for its experts"):
        divide_beside(8000 * MB, 10 * MB, SPARSE)


def test_a_chunk_depends_on_the_model_alone() -> None:
    assert {divide(gb * 1000 * MB, SPARSE).chunk for gb in (3, 30, 300)} == {2048}
    wide = replace(SPARSE, activations_a_token=220_000)
    assert wide.chunk == 1024 and wide.activations <= ACTIVATION_BYTES
    assert replace(SPARSE, activations_a_token=10 * MB).chunk == CHUNK


def test_where_not_all_fits_a_quarter_is_the_cache() -> None:
    plan = divide(4000 * MB, SPARSE)
    rest = 4000 * MB - SPARSE.weights - SPARSE.activations
    assert plan.cache == rest // 4 and plan.experts == rest - plan.cache


@given(
    memory=st.integers(0, 10**11),
    needs=st.builds(
        Needs,
        weights=st.integers(0, 10**10),
        activations_a_token=st.integers(1, 10**6),
        token_bytes=st.integers(1, 10**5),
        state_bytes=st.integers(0, 10**8),
        context=st.integers(1, 1 << 20),
        experts=st.sampled_from([0, 10**9, 10**11]),
        least_experts=st.just(0),
        vision=st.sampled_from([0, 10**9]),
    ),
)
def test_never_more_than_there_is_and_always_enough_to_work(memory: int, needs: Needs) -> None:
    needs = replace(needs, least_experts=min(needs.experts, 10**7))
    if shortfall(memory, needs) > 0:
        with pytest.raises(EngineError):
            divide(memory, needs)
        return
    plan = divide(memory, needs)
    taken = needs.weights + needs.activations + needs.vision + plan.cache + plan.experts
    assert taken <= memory
    assert needs.context_in(plan.cache) >= min(needs.context, LEAST_CONTEXT)
    assert needs.least_experts <= plan.experts <= needs.experts


def test_what_is_missing_is_one_sentence_and_enough_once_it_is_given() -> None:
    with pytest.raises(
        EngineError, match=r"needs 2,284 MB of memory, and may take 500 MB; .*--memory"
    ) as told:
        divide(500 * MB, SPARSE)
    assert "\n" not in str(told.value)
    assert divide(500 * MB + shortfall(500 * MB, SPARSE), SPARSE).experts == SPARSE.least_experts


def test_more_than_the_machine_has_is_refused() -> None:
    assert budget_of(1 << 30) == 1 << 30
    with pytest.raises(EngineError, match="were asked for, and this machine has"):
        budget_of(all_memory() + 1)


def test_what_is_left_alone() -> None:
    assert budget_of(None) <= free_memory() + (1 << 30)
    assert less_reserve(100 << 30) == (100 << 30) - int((100 << 30) * 0.15)
    assert less_reserve(4 << 30) == (4 << 30) - RESERVE
    assert less_reserve(1 << 30) == 1 << 29
