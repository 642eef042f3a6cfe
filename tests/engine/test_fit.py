"""What a machine can host: arithmetic over a model's parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.anatomy import anatomy
from engine.fit import Candidate, Machine, best_first, fit, hit_share, machine_of
from engine.known_configs import QWEN2, SMALL_4
from engine.known_needs import known_needs
from engine.machine_memory import less_reserve
from engine.memory_plan import ACTIVATION_BYTES
from engine.model import CACHE_BUDGET, CACHE_STEP

GB = 10**9
KERNELS = {"decode": 9e9, "prefill": 60e9}
LAPTOP = Machine(24 * GB, 22 * GB, 15e9, 50e9, 1.5e9, {"int4": KERNELS, "int8": KERNELS})
NEEDS = known_needs()
SMALL = Candidate("mistral-small-4", anatomy(SMALL_4), "int4", NEEDS["mistral-small-4 int4"], "ostro")


def test_all_of_it_where_there_is_room() -> None:
    found = fit(SMALL, replace(LAPTOP, memory=512 * GB, available=500 * GB))
    assert (found.verdict, found.resident, found.context) == ("fits", 1.0, 262_144)
    assert found.bytes == pytest.approx(116e9 * 5 / 8 + 4.95e9, rel=0.01)


def test_a_part_of_the_experts_elsewhere() -> None:
    found = fit(SMALL, LAPTOP)
    assert found.verdict == "paged" and 0.1 < found.resident < 0.3
    experts, cache = found.resident * SMALL.needs.experts, found.context * 23_040
    rest = experts + cache
    assert 100_000 < found.context < 262_144 and cache == pytest.approx(rest / 4, rel=0.01)
    fixed = SMALL.needs.fixed
    assert SMALL.needs.activations <= ACTIVATION_BYTES
    # The context is told in whole steps.
    assert 0 <= less_reserve(LAPTOP.available) - rest - fixed < CACHE_STEP * 23_040


def test_a_budget_that_was_named_counts_and_not_what_is_free() -> None:
    assert fit(SMALL, LAPTOP, 12 * GB).resident < fit(SMALL, LAPTOP).resident
    assert fit(SMALL, replace(LAPTOP, available=5 * GB), less_reserve(LAPTOP.available)) == fit(SMALL, LAPTOP)


def test_more_memory_is_never_slower() -> None:
    speeds = [fit(SMALL, replace(LAPTOP, available=gb * GB)).decode or 0.0 for gb in (5, 8, 16, 32, 64, 128)]
    assert speeds == sorted(speeds) and speeds[0] == 0.0 < speeds[1] < speeds[-1]


def test_what_is_missing_is_said() -> None:
    found = fit(SMALL, replace(LAPTOP, available=5 * GB))
    assert (found.verdict, found.decode) == ("no", None) and "GB of memory are missing" in found.why
    assert "no disk" in fit(SMALL, replace(LAPTOP, disk=None)).why


def test_a_dense_model_reads_all_of_its_weights() -> None:
    name = "qwen2.5-coder-1.5b"
    model = Candidate("qwen", anatomy(QWEN2[name]), "int8", NEEDS[f"{name} int8"], "ostro", CACHE_BUDGET)
    found = fit(model, LAPTOP)
    assert found.verdict == "fits" and found.context == 18_432
    assert fit(replace(model, cache=None), LAPTOP).context == 32_768
    assert found.decode == pytest.approx(15e9 / model.anatomy.active)
    assert [each.name for each in best_first([fit(SMALL, LAPTOP), found])] == ["qwen", "mistral-small-4"]


def test_hits_by_share() -> None:
    assert [hit_share(share) for share in (0.0, 0.125, 0.25, 0.5, 1.0)] == [0.0, 0.45, 0.67, 0.89, 1.0]
    assert hit_share(0.375) == pytest.approx(0.78)


def test_measured_once_more_says_the_same_things() -> None:
    with pytest.raises(KeyError):
        machine_of({"memory": 1})
