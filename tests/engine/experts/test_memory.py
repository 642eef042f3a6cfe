"""What the kernel says a store takes, against its budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.memory_group import memory_group, missing
from engine.experts import ExpertStore, convert
from tests.engine.experts.random_source import RandomSource

ROOT = Path(__file__).parents[3]
PROGRAM = """
import json, sys, torch
from pathlib import Path
from engine.experts import ExpertStore, PackedModel

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

def play(store, passes):
    for seed in range(passes):
        index = torch.randint(0, 24, (1 + seed % 3 * 40, 4), generator=torch.Generator().manual_seed(seed))
        weight = torch.full(index.shape, 0.25)
        store.forward(1 + seed % 2, torch.ones(len(index), 512), index, weight)
        yield anonymous()

torch.set_num_threads(1)
packed = PackedModel(Path(sys.argv[1]))
least, budget = int(sys.argv[2]), int(sys.argv[3])
with ExpertStore.open(packed, budget=least) as store:
    for _ in play(store, 6):  # what torch takes for itself, once
        pass
before = anonymous()
with ExpertStore.open(packed, budget=budget) as store:
    peak = max(play(store, 80))
    print(json.dumps({"grown": peak - before, "taken": store.memory_bytes}))
"""
OWN = 6 << 20
"""Activations, Python's own, and the allocator's pages between."""


def test_the_process_grows_by_no_more_than_the_budget(tmp_path: Path) -> None:
    source = RandomSource(tmp_path, experts=24, hidden=512, intermediate=512)
    packed = convert(source, tmp_path / "packed", form="float32")
    with ExpertStore.open(packed, budget=1 << 30) as store:
        slot, fixed = store.memory.slot_bytes, store.memory_bytes
    everything, budget = 48 * slot, fixed + 10 * slot
    assert everything > budget + 10 * OWN

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(packed.path), str(fixed + 2 * slot), str(budget)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout)

    assert seen["taken"] <= budget
    assert 6 * slot < seen["grown"] <= budget + OWN


def test_without_a_budget_the_group_s_limit_counts() -> None:
    """A memory cgroup of 600 MB around a process: it may not think that it has the whole machine."""
    if why := missing():
        pytest.skip(why)
    with memory_group() as group:
        group.limit(600 << 20)
        program = "from engine.machine_memory import free_in_cgroup; print(free_in_cgroup())"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=group.enter,
        )  # fmt: skip
        assert 0 < int(done.stdout) < 600 << 20
