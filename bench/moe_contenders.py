"""One contender of `bench.moe`, in a process of its own: reads its job from standard input, and prints a line
of JSON for each measurement (`bench.moe_table.Run`, less its name).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

WARM_TOKENS, WARM_PROMPT = 4, 8
BEST_OF = 5
READ_BYTES = 1 << 30
GEMM = 2048
MOST_SHARE = 0.6
"""Of the memory that is free, which transformers' weights may take; else they have fewer experts."""

Job = dict[str, Any]


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    with torch.inference_mode():
        {"machine": machine, "ostro": ostro, "transformers": transformers}[job["contender"]](job)


def machine(job: Job) -> None:
    """What bounds everybody: reading memory, and multiplying large matrices."""
    streamed = torch.ones((READ_BYTES if job["true_size"] else 1 << 24) // 4)
    tell("read", "sum", best(streamed.sum), streamed.nbytes)
    tell("read", "largest", best(streamed.max), streamed.nbytes)
    size = GEMM if job["true_size"] else 128
    for kind in (torch.float32, torch.bfloat16):
        a, b = torch.randn(size, size).to(kind), torch.randn(size, size).to(kind)
        tell("gemm", name_of(kind), best(lambda a=a, b=b: a @ b), 2 * size**3)


def ostro(job: Job) -> None:
    """The hosted layer over an expert store, as the engine has them, all experts in memory."""
    from engine.experts import ExpertStore, PackedModel
    from engine.hosted import HostedModel, activation_of

    packed = PackedModel(Path(job["folder"]) / job["kind"])
    record = next(iter(packed.layers.values())).geometry.bytes
    budget = record * packed.expert_count() * len(packed.layers) + (256 << 20)
    with ExpertStore.open(packed, budget=budget, activation=activation_of(packed.config)) as store:
        model = HostedModel.load(packed, store, precision="int8")
        for layer in packed.layers:
            for some in torch.arange(packed.expert_count()).split(job["config"]["num_experts_per_tok"]):
                ones = torch.ones(1, len(some))
                store.forward(layer, torch.zeros(1, store.geometry.hidden), some[None], ones)
        shared = 3 * store.geometry.hidden * store.geometry.intermediate
        missed = store.counters.misses
        measure_layer(job, model._decoder.layers[0].mlp, job["kind"], torch.float32, record, shared)
        measure_whole(job, model)
        assert store.counters.misses == missed, "an expert was not in memory"


def transformers(job: Job) -> None:
    """transformers' own layer, with each of its ways to compute experts."""
    from transformers import Mistral4Config
    from transformers.models.mistral4.modeling_mistral4 import Mistral4MoE

    kind: torch.dtype = getattr(torch, job["kind"])
    told = {key: value for key, value in job["config"].items() if key != "model_type"}
    expert = 3 * told["hidden_size"] * told["moe_intermediate_size"] * kind.itemsize
    while told["n_routed_experts"] * expert > MOST_SHARE * psutil.virtual_memory().available:
        told["n_routed_experts"] //= 2
    config = Mistral4Config(**told)
    with torch.device("meta"):
        layer = Mistral4MoE(config)
    layer = layer.to(kind).to_empty(device="cpu").eval()
    for weight in layer.parameters():
        fill(weight)
    few = told["n_routed_experts"] < job["config"]["n_routed_experts"]
    for implementation in ("grouped_mm", "batched_mm", "eager"):
        config._experts_implementation = implementation
        how = f"{implementation}, {job['kind']}" + (f", {told['n_routed_experts']} experts" if few else "")
        # batched_mm copies the matrices of each token's experts: 100 GB for a prompt of 512.
        measure_layer(job, layer, how, kind, expert, expert, prompts=implementation != "batched_mm")


def fill(weight: nn.Parameter) -> None:
    """Random values of one matrix; each further one is the same rolled on, other memory but quickly made."""
    flat = weight.data.view(-1, *weight.shape[-2:])
    flat[0] = torch.randn(flat.shape[1:]) * weight.shape[-1] ** -0.5
    for n in range(1, len(flat)):
        flat[n] = flat[0].roll(n, 0)


class Forced(nn.Module):
    """A router that does its work, and has its choice replaced by the trace's."""

    def __init__(self, router: nn.Module):
        super().__init__()
        self.router = router
        self.index, self.weight = torch.empty(0), torch.empty(0)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, _, _ = self.router(hidden)
        return logits, self.weight, self.index


def measure_layer(
    job: Job, layer: Any, how: str, kind: torch.dtype, expert: int, shared: int, *, prompts: bool = True
) -> None:
    """The half of a layer with router, routed experts and shared expert; these take so many bytes each."""
    router, config = layer.gate, job["config"]
    layer.gate = forced = Forced(router)
    experts, active = router.weight.shape[0], config["num_experts_per_tok"]
    index, weight = trace(job, job["tokens"], experts)
    hidden = torch.randn(job["tokens"], 1, 1, config["hidden_size"]).to(kind)

    def decode(tokens: range) -> float:
        began = time.perf_counter()
        for n in tokens:
            forced.index, forced.weight = index[n, None], weight[n, None].to(kind)
            layer(hidden[n])
        return (time.perf_counter() - began) / len(tokens)

    decode(range(min(WARM_TOKENS, job["tokens"])))
    tell("decode", how, decode(range(job["tokens"])), active * expert + shared)
    for length in job["prompts"] if prompts else ():
        index, weight = trace(job, length, experts)
        forced.index, forced.weight = index, weight.to(kind)
        prompt = torch.randn(1, length, config["hidden_size"]).to(kind)
        began = time.perf_counter()
        layer(prompt)
        seconds = time.perf_counter() - began
        products = 3 * (active + 1) * config["hidden_size"] * config["moe_intermediate_size"]
        tell(f"prefill {length}", how, seconds, 2 * length * products)
    layer.gate = router


def measure_whole(job: Job, model: Any) -> None:
    """Whole layers of a model, attention and the choice of its own router included."""
    random = np.random.default_rng(2)
    vocabulary, layers = job["config"]["vocab_size"], job["config"]["num_hidden_layers"]
    for length in job["prompts"]:
        ids = random.integers(0, vocabulary, length).tolist()
        cache = model.new_cache()
        cache.reserve(length)
        began = time.perf_counter()
        model.prefill(ids, cache)
        tell(f"whole prefill {length}", job["kind"], (time.perf_counter() - began) / layers)
    cache = model.new_cache()
    model.prefill(random.integers(0, vocabulary, WARM_PROMPT).tolist(), cache)
    ids = random.integers(0, vocabulary, job["tokens"]).tolist()
    began = time.perf_counter()
    for token in ids:
        model.logits(model.prefill([token], cache))
    tell("whole decode", job["kind"], (time.perf_counter() - began) / len(ids) / layers)


def trace(job: Job, length: int, experts: int) -> tuple[Tensor, Tensor]:
    """index int64 [length, k], weight float32 [length, k]; with all experts, the same for everybody."""
    made = np.load(os.path.join(job["folder"], f"trace-{length}.npz"))
    active = job["config"]["num_experts_per_tok"]
    index = made["scores"][:, :experts].argsort(axis=1)[:, :active].copy()
    return torch.from_numpy(index), torch.from_numpy(made["weight"]).float()


def best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of a few."""
    took = []
    for _ in range(BEST_OF):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def tell(work: str, how: str, seconds: float, amount: float = 0.0) -> None:
    print(json.dumps({"work": work, "how": how, "seconds": seconds, "amount": amount}), flush=True)


def name_of(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


if __name__ == "__main__":
    main()
