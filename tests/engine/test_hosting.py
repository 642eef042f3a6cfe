"""Where a model would run, told before it is loaded, is where it runs: with a GPU as without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import opening
from engine.describing import described
from engine.experts import ExpertStore
from engine.hosted import HostedModel
from engine.hosting import Hosting, hosting_of
from engine.machine_memory import less_reserve
from engine.opening import open_any, open_hosted
from engine.request import Sampling
from engine.runtime import Runtime
from tests.engine import random_checkpoints as random
from tests.engine.tekken_files import write_tekken

MEMORY = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small-4")
    random.write_hf(random.random_model(random.small_config(vocab_size=131_072, hidden_size=64)), path)
    write_tekken(path, "v15")
    return path


def with_a_gpu(patch: pytest.MonkeyPatch, free: int) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "mem_get_info", lambda: (free, 2 * free))


def on_the_processor(options: dict[str, Any]) -> dict[str, Any]:
    """A device's tier is made where one was named."""
    return options | {"device": options["device"] and "cpu"}


def least_of(folder: Path, patch: pytest.MonkeyPatch) -> int:
    """Bytes of a GPU for everything but experts, with the longest context."""
    with patch.context() as gpu:
        with_a_gpu(gpu, MEMORY)
        needs = hosting_of(open_any(folder)).needs
    return needs.fixed + needs.cache(needs.context)


def test_what_is_shown_is_what_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 4 * least_of(folder, monkeypatch)
    on_a_processor = described(folder, MEMORY)
    with_a_gpu(monkeypatch, free)
    told, hosting = described(folder, MEMORY), hosting_of(open_any(folder), MEMORY)
    plan = hosting.plan()

    assert (hosting.device, hosting.precision) == ("cuda", "bfloat16")
    assert (told["device"], told["precision"], told["device_memory"]) == (
        "cuda",
        "bfloat16",
        less_reserve(free),
    )
    assert told["context_in_memory"] == hosting.needs.context_in(plan.cache)
    assert told["memory_needed"] == hosting.needs.least_experts < on_a_processor["memory_needed"]
    assert told["experts_on_device"] == round(plan.device_experts / hosting.needs.experts, 4) > 0
    assert on_a_processor["precision"] == "int8" and "device" not in on_a_processor


def test_a_gpu_that_is_too_small_is_told_and_not_raised(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_gpu(monkeypatch, 1 << 20)
    assert described(folder, MEMORY)["context_in_memory"] == 0


def test_what_a_gpu_has_left_takes_the_hottest_experts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is pretended: what was to lie there lies in memory."""
    stores: list[ExpertStore] = []
    asked: list[dict[str, Any]] = []

    def open_store(source: Any, **options: Any) -> ExpertStore:
        asked.append(options)
        stores.append(ExpertStore.open(source, **on_the_processor(options)))
        return stores[-1]

    def load_model(*parts: Any, **options: Any) -> HostedModel:
        asked.append(options)
        return HostedModel.load(*parts, **on_the_processor(options))

    class Opening:
        open = staticmethod(open_store)

    class Loading:
        load = staticmethod(load_model)

    def said(path: Path, free: int) -> list[int]:
        with monkeypatch.context() as gpu:
            with_a_gpu(gpu, free)
            gpu.setattr(opening, "ExpertStore", Opening)
            gpu.setattr(opening, "HostedModel", Loading)
            opened = open_hosted(path, memory=MEMORY)
        answer = Runtime(path, opened).generate(
            [1000, 1001], max_tokens=8, sampling=Sampling(), stop_ids=frozenset(), cancelled=lambda: False
        )
        return [sampled.token_id for sampled in answer]

    least = least_of(folder, monkeypatch)
    full = said(folder, 3 * least)
    of_store, of_model = asked
    with monkeypatch.context() as gpu:
        with_a_gpu(gpu, 3 * least)
        hosting: Hosting = hosting_of(open_any(folder), MEMORY)
    left = min(less_reserve(3 * least) - least, hosting.needs.experts)
    assert (of_store["device"], of_store["device_budget"]) == ("cuda", left)
    assert (of_model["device"], of_model["precision"]) == ("cuda", "bfloat16")
    assert stores[0].device is not None and stores[0].counters.promoted > 0

    assert less_reserve(2 * least) == least  # a half is left alone
    tight = said(folder, 2 * least)
    assert asked[2]["device_budget"] < stores[0].memory.slot_bytes and stores[1].device is None
    assert tight == full
