"""Weights stream: opening reads headers alone, and reading holds no more than the weight asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from engine.checkpoints import open_checkpoint
from engine.checkpoints.weight import VALUES_AT_ONCE
from tests.engine.random_checkpoints import save_shards

HIDDEN, INNER, EXPERTS, LAYERS = 512, 1024, 8, 2
ONE = HIDDEN * INNER
MIB = 1 << 20

READ_ALL = """
import sys
from pathlib import Path
import torch
from engine.checkpoints import open_checkpoint

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

torch.set_num_threads(1)
torch.ones(64, 64).half().float().isfinite().all()
checkpoint = open_checkpoint(Path(sys.argv[1]))
checkpoint.expert(0, 0).gate.rows(0, 8)
checkpoint.release()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, largest = peak(), 0
for layer in checkpoint.expert_layers():
    for n in range(checkpoint.expert_count()):
        expert = checkpoint.expert(layer, n)
        for weight in (expert.gate, expert.up, expert.down):
            value = weight.floats()
            largest = max(largest, value.numel() * 4)
            del value
            checkpoint.release()
print(peak() - before, largest)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mixtral with its experts in stacks of 16 MiB and 8 MiB, BF16."""
    path = tmp_path_factory.mktemp("streamed")
    tensors = {}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}.mlp.experts"
        tensors[f"{stem}.gate_up_proj"] = torch.randn(EXPERTS, 2 * INNER, HIDDEN).bfloat16()
        tensors[f"{stem}.down_proj"] = torch.randn(EXPERTS, HIDDEN, INNER).bfloat16()
    save_shards(path, "model", tensors, 2)
    config = {"model_type": "mixtral", "num_local_experts": EXPERTS, "num_hidden_layers": LAYERS}
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_each_byte_is_read_once_and_only_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = os.preadv

    def counted(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        reads.append(real(descriptor, buffers, offset))
        return reads[-1]

    monkeypatch.setattr(os, "preadv", counted)
    checkpoint = open_checkpoint(folder)
    assert sum(reads) < 4096

    reads.clear()
    expert = checkpoint.expert(1, 5)
    assert not reads and expert.stored_bytes == 3 * ONE * 2
    expert.up.rows(10, 12)
    assert reads == [2 * HIDDEN * 2]

    reads.clear()
    for layer in checkpoint.expert_layers():
        for n in range(checkpoint.expert_count()):
            for weight in (checkpoint.expert(layer, n).gate, checkpoint.expert(layer, n).down):
                weight.floats()
    assert sum(reads) == LAYERS * EXPERTS * 2 * ONE * 2 and max(reads) <= VALUES_AT_ONCE * 2


def peak_growth(path: Path) -> tuple[int, int]:
    """By how many bytes a process grew at most while it read every expert, and the largest weight it read."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", READ_ALL, str(path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 0, done.stderr
    growth, largest = map(int, done.stdout.split())
    return growth, largest


def test_memory_is_bounded_by_the_largest_weight(folder: Path) -> None:
    growth, largest = peak_growth(folder)

    # The result, and of a few rows the bytes, the floats and what says whether they are finite.
    assert largest == ONE * 4
    assert growth <= largest + 8 * VALUES_AT_ONCE + MIB


def test_memory_is_bounded_for_gguf_too(tmp_path: Path) -> None:
    from tests.engine.random_checkpoints import random_model, small_config
    from tests.engine.random_gguf import write_gguf

    sizes = {"hidden_size": 512, "moe_intermediate_size": 1024, "n_routed_experts": 16}
    path = tmp_path / "m.gguf"
    write_gguf(random_model(small_config(**sizes)), path, lambda _: Kind.Q8_0)
    growth, largest = peak_growth(path)

    assert largest == ONE * 4 and path.stat().st_size > 40 * MIB
    assert growth <= largest + 12 * VALUES_AT_ONCE + MIB < np.prod((2, 16, 3, ONE))
