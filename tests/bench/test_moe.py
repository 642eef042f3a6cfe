"""The benchmark of experts, with matrices of 64 x 64: that it measures what it says, not how fast that is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.moe_table import Run, report
from bench.random_model import TINY, small_4

ROOT = Path(__file__).parents[2]
TOLD = {
    "threads": 1, "rounds": 3, "layers": 2, "load": 0.5, "commit": "abc", "llama": False,
    "llama_python": "no/python", "config": small_4(2, 300, **TINY),
}  # fmt: skip


def test_all_contenders_take_their_turn(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.moe",
        "--tiny",
        "--rounds",
        "1",
        "--tokens",
        "4",
        "--prompts",
        "8",
    ]
    command += ["--threads", "1", "--folder", str(tmp_path), "--llama-python", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    # The layer's half, and the whole layer.
    assert rows.count("decode, 1 token: ostro, int4") == rows.count("prefill, 8 tokens: ostro, int4") == 2
    for how in ("grouped_mm", "batched_mm", "eager"):
        assert f"decode, 1 token: transformers, {how}, float32" in rows
        assert (f"prefill, 8 tokens: transformers, {how}, float32" in rows) == (how != "batched_mm")
    assert "make parity-llamacpp builds it" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_table_says_medians_and_ratios() -> None:
    runs = [Run("machine", "read", "sum", seconds, 1e9) for seconds in (0.1, 0.05, 0.2)]
    runs += [Run("machine", "gemm", "float32", 1.0, 4e11)]
    runs += [Run("ostro int4", "decode", "int4", seconds, 5e7) for seconds in (0.01, 0.02, 0.9)]
    runs += [Run("transformers float32", "decode", "eager, float32", 0.2, 4e8)]
    runs += [Run("transformers bfloat16", "decode", "eager, bfloat16", 0.1, 2e8)]
    table = report(runs, TOLD)
    assert "Memory reads 10.0 GB/s; a product does 400 GFLOP/s" in table
    assert "| decode, 1 token: ostro, int4 | 20.00 | 50.0 | 25% of 50 MB at that speed | 5.00 |" in table
    assert table.index("ostro, int4") < table.index("eager, bfloat16") < table.index("eager, float32")


def test_a_gguf_of_the_same_shape_is_read(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from bench.moe_gguf import write_gguf
    from engine.checkpoints import open_checkpoint

    config = small_4(2, 300, **TINY)
    source = open_checkpoint(write_gguf(tmp_path / "Q8_0.gguf", config, "Q8_0"))
    for key in ("hidden_size", "moe_intermediate_size", "n_routed_experts", "num_experts_per_tok"):
        assert source.config[key] == config[key]
    assert source.expert(1, 7).down.shape == (64, 64)
    assert source.expert(0, 0).gate.floats().isfinite().all()
