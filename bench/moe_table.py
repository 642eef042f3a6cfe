"""The table of `bench.moe`: medians over its rounds, and what they are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Run:
    """One measurement of one contender."""

    name: str
    work: str
    """"decode" or "prefill N" of the layer's half with the experts, the same with "whole" before it for a
    layer with attention; "read" and "gemm" of the machine."""
    how: str
    seconds: float
    """For one layer: of a token, or of a whole prompt."""
    amount: float
    """Bytes of weights that are read for it; operations, of a prompt and of "gemm"; 0: not counted."""


def report(runs: Sequence[Run], told: Mapping[str, Any]) -> str:
    """Markdown. `told` is what the run was: threads, rounds, commit and so on."""
    config = told["config"]
    read, gemm = _most(runs, "read"), _most(runs, "gemm")
    lines = [
        f"Commit {told['commit']}, {told['threads']} threads, medians of {told['rounds']} rounds in which all"
        f" take turns, load {told['load']:.1f} before. A layer has {config['n_routed_experts']} experts"
        f" of {config['hidden_size']} x {config['moe_intermediate_size']}, of which a token takes"
        f" {config['num_experts_per_tok']}, and a shared one. Memory reads {read / 1e9:.1f} GB/s; a product"
        f" does {gemm / 1e9:,.0f} GFLOP/s.",
        "",
    ]
    works = list(dict.fromkeys(run.work for run in runs if run.name != "machine"))
    for whole in (False, True):
        of_kind = [
            work for work in works if work.startswith("whole") == whole and work not in ("read", "gemm")
        ]
        if not of_kind:
            continue
        title = "A whole layer, its own router choosing" if whole else "Router, routed and shared experts"
        lines += [f"| {title} | ms | tokens/s | against the machine | against transformers' best |"]
        lines += ["|---|---|---|---|---|"]
        for work in sorted(of_kind, key=_order):
            lines += _rows(runs, work, read, gemm)
        lines.append("")
    if not told["llama"]:
        lines.append(f"llama.cpp is not here ({told['llama_python']}): make parity-llamacpp builds it.")
    return "\n".join(lines).rstrip()


def _rows(runs: Sequence[Run], work: str, read: float, gemm: float) -> list[str]:
    """The contenders at one work, quickest first."""
    seen: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.work == work:
            seen.setdefault((run.name.partition(" ")[0], run.how), []).append(run)
    middle = {key: median(run.seconds for run in some) for key, some in seen.items()}
    peers = [seconds for (name, _), seconds in middle.items() if name == "transformers"]
    tokens = 1 if work.endswith("decode") else int(work.rpartition(" ")[2])
    what = "decode, 1 token" if tokens == 1 else f"prefill, {tokens:,} tokens"
    rows = []
    for key, seconds in sorted(middle.items(), key=lambda item: item[1]):
        amount, bound = seen[key][0].amount, ""
        if amount and tokens == 1:
            bound = f"{amount / read / seconds:.0%} of {amount / 1e6:.0f} MB at that speed"
        elif amount:
            bound = f"{amount / gemm / seconds:.0%} of that product"
        ratio = f"{min(peers) / seconds:.2f}" if peers else ""
        name = f"{what}: {key[0]}, {key[1]}"
        rows.append(f"| {name} | {seconds * 1e3:,.2f} | {tokens / seconds:,.1f} | {bound} | {ratio} |")
    return rows


def _order(work: str) -> tuple[int, int]:
    last = work.rpartition(" ")[2]
    return (1, int(last)) if last.isdigit() else (0, 0)


def _most(runs: Sequence[Run], work: str) -> float:
    """An amount a second: of each way the median, of these the largest."""
    rates: dict[str, list[float]] = {}
    for run in runs:
        if run.work == work:
            rates.setdefault(run.how, []).append(run.amount / run.seconds)
    return max(median(some) for some in rates.values())
