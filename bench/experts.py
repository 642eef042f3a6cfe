"""The expert store against plain mmap: same records, same kernel, same traces, same memory.

    python -m bench.experts [--layers N] [--tokens N] [--shares 1 0.5 0.25 0.125] [--folder DIR] [--repeats N]

Builds a packed model of random experts of true size (hidden 4096, intermediate 2048, 128 a layer, 4 bits)
under `--folder` and removes it again. Each run is a process in a memory cgroup of its own (version 1, as
root), limited to what the process takes before it begins, plus the budget, plus 64 MB; file pages are
charged to the group, and those of the model are dropped before each run. Without such a cgroup it says so,
and the figures of mmap are then those of the whole machine's page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from bench.commit import commit
from bench.memory_group import drop_pages, memory_group, missing
from bench.routing_traces import local_trace, lru_rate, uniform_trace

HIDDEN, INTERMEDIATE, EXPERTS = 4096, 2048, 128
SLACK = 64 << 20
"""Bytes of a group beside the budget: activations, Python's own, what the kernel charges."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.125])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", choices=("store", "mmap"), help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.model, options.budget, options.threads)
        return
    folder = Path(tempfile.mkdtemp(prefix="ostro-experts-", dir=options.folder))
    try:
        model = build(folder / "model", options.layers)
        print(report(model, folder, options))
    finally:
        shutil.rmtree(folder)


def build(folder: Path, layers: int) -> Path:
    """A packed model with random experts and nothing beside them."""
    from bench.random_model import write_experts
    from engine.experts.packed import DENSE, FORMAT, MANIFEST, VERSION, layer_file
    from engine.experts.record import Geometry

    geometry = Geometry("int4", HIDDEN, INTERMEDIATE)
    random = np.random.default_rng(0)
    folder.mkdir()
    entries: list[dict[str, Any]] = []
    for layer in range(layers):
        checksums = write_experts(folder / layer_file(layer), geometry, EXPERTS, random)
        entries.append({"layer": layer, "kept": [], "record_bytes": geometry.bytes, "checksums": checksums})
    (folder / DENSE).write_bytes((2).to_bytes(8, "little") + b"{}")
    manifest = {
        "format": FORMAT, "version": VERSION, "form": "int4", "hidden": HIDDEN, "intermediate": INTERMEDIATE,
        "biased": False, "experts": EXPERTS, "layers": entries, "dense": {}, "config": {},
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def report(model: Path, folder: Path, options: argparse.Namespace) -> str:
    everything = sum(file.stat().st_size for file in model.glob("experts-*.bin"))
    count = EXPERTS * options.layers
    grouped = missing() is None
    lines = [
        f"{options.layers} layers, {everything / 1e9:.2f} GB of experts, {options.threads} threads,"
        f" {options.tokens} tokens (the first third not measured), commit {commit()}.",
        "" if grouped else "No memory cgroup of version 1 here: mmap has the whole machine's page cache.",
        "| Trace | in memory | LRU would hit | tokens/s store | tokens/s mmap | ratio | store: hits, read,"
        " stalled | read ahead: used / begun | most of the budget | group's peak / limit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, make in (("local", local_trace), ("uniform", uniform_trace)):
        trace = make(options.tokens, options.layers, EXPERTS)
        np.save(model / "trace.npy", trace)
        for share in options.shares:
            # The store has what it needs beside its slots inside the budget too.
            budget = int(everything * share) + (32 << 20)
            seen: dict[str, list[dict[str, Any]]] = {"store": [], "mmap": []}
            for _ in range(options.repeats):
                for name, runs in seen.items():
                    runs.append(run(name, model, budget, options.threads, grouped))
            rate = {name: statistics.median(one["rate"] for one in runs) for name, runs in seen.items()}
            one = seen["store"][-1]
            same = "" if one["sum"] == seen["mmap"][-1]["sum"] else " RESULTS DIFFER"
            lines.append(
                f"| {kind} | {share:.1%} | {lru_rate(trace, int(count * share), options.tokens // 3):.2f}"
                f" | {rate['store']:.2f} | {rate['mmap']:.2f} | {rate['store'] / rate['mmap']:.2f}{same}"
                f" | {one['hits']:.2f}, {one['read'] / 1e9:.1f} GB, {one['stalled']:.0%}"
                f" | {one['used']} / {one['begun']} | {one['taken'] / budget:.1%}"
                f" | {one['peak'] / 1e6:,.0f} / {one['limit'] / 1e6:,.0f} MB |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def run(name: str, model: Path, budget: int, threads: int, grouped: bool) -> dict[str, Any]:
    """One process, one figure. Its memory is limited once it has imported everything."""
    drop_pages(model)
    command = [sys.executable, "-m", "bench.experts", "--worker", name, "--model", str(model)]
    with memory_group() if grouped else nullcontext() as group:
        process = subprocess.Popen(
            [*command, "--budget", str(budget), "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
            preexec_fn=None if group is None else group.enter,
        )  # fmt: skip
        assert process.stdin and process.stdout
        try:
            if process.stdout.readline() != "ready\n":
                raise SystemExit("The process under measurement ended early; its message is above.")
            limit = 0
            if group is not None:
                limit = group.used + budget + SLACK
                group.limit(limit)
            process.stdin.write("go\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{name} did not end its run (out of its memory?).")
            peak = group.seen().peak if group is not None else 0
            return json.loads(answer) | {"peak": peak, "limit": limit}
        finally:
            process.stdin.close()
            process.wait()


def work(name: str, model: Path, budget: int, threads: int) -> None:
    import torch

    from engine.experts import ExpertStore, PackedModel
    from engine.experts.fetch import in_place
    from engine.experts.kernels import Kernel, silu_and_multiply
    from engine.experts.shares import shares_of
    from engine.experts.tiles import native_order

    torch.set_num_threads(threads)
    trace = torch.from_numpy(np.load(model / "trace.npy"))
    packed = PackedModel(model)
    geometry = packed.layers[0].geometry
    kernel = Kernel(geometry, silu_and_multiply, torch.device("cpu"))
    hidden = torch.randn(1, HIDDEN, generator=torch.Generator().manual_seed(0))
    weight = torch.full((1, trace.shape[2]), 1 / trace.shape[2])
    turns = native_order().turn is not None
    for packed_layer in packed.layers:
        packed._checked.update(
            (packed_layer, n) for n in range(EXPERTS)
        )  # mmap checks nothing, nor does this

    def by_mmap(layer: int, index: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(1, HIDDEN)
        x = hidden.to(kernel.takes)
        for share in shares_of(index, weight, EXPERTS):
            record = packed.record(layer, share.n)
            if turns:
                record = record.clone()
                in_place(geometry, record)
            share.add(kernel.run(x, kernel.operands(record)), out)
        return out

    print("ready", flush=True)
    sys.stdin.readline()
    store = ExpertStore.open(packed, budget=budget) if name == "store" else None
    layer_output: Callable[[int, torch.Tensor], torch.Tensor] = (
        by_mmap if store is None else lambda layer, index: store.forward(layer, hidden, index, weight)
    )
    skipped, total, taken = len(trace) // 3, 0.0, 0
    began, before = time.perf_counter(), {}
    for token, layers in enumerate(trace):
        if token == skipped:
            began = time.perf_counter()
            before = dict(vars(store.counters)) if store else {}
        for layer, index in enumerate(layers):
            total += float(layer_output(layer, index[None]).double().sum())
            if store:
                taken = max(taken, store.memory_bytes)
    seconds = time.perf_counter() - began
    figures: dict[str, Any] = {"hits": 0, "read": 0, "stalled": 0, "used": 0, "begun": 0}
    if store:
        now = store.counters
        hits, misses = now.hits - before["hits"], now.misses - before["misses"]
        figures = {
            "hits": hits / (hits + misses),
            "read": now.bytes_read - before["bytes_read"],
            "stalled": (now.stall_seconds - before["stall_seconds"]) / seconds,
            "used": now.prefetch_used - before["prefetch_used"],
            "begun": now.prefetched - before["prefetched"],
        }
        store.close()
    rate = (len(trace) - skipped) / seconds
    print(json.dumps({"rate": rate, "sum": total, "taken": taken} | figures), flush=True)


if __name__ == "__main__":
    main()
