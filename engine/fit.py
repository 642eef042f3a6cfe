"""Which models this machine can host, and about how fast: what `ostro models fit` says.

Plain arithmetic over a model's parts (`engine.anatomy`), what it takes of memory, by the arithmetic that the
engine loads it by (`engine.known_needs`), and what the machine was measured to do (`engine.measure`).
Decoding is bound by the bytes that are read, reading a prompt by operations; experts that are not in memory
come from the disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from engine.anatomy import Anatomy
from engine.machine_memory import less_reserve
from engine.memory_plan import Needs, divide, shortfall

HITS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.125, 0.45), (0.25, 0.67), (0.5, 0.89), (1.0, 1.0))
"""Share of the experts in memory, and share of a token's experts then found there: measured elsewhere on a
model of 128 experts, of which 8 are active. Small 4's own is not known."""

BITS: Mapping[str, float] = {"int4": 5.0, "int8": 8.0}
"""A weight's, scales included: at 4 bits a scale and a zero of 16 bits for each 32."""
DENSE_BITS = 8.0

Verdict = Literal["fits", "paged", "no"]


@dataclass(frozen=True)
class Machine:
    """As `engine.measure` tells it: bytes, and bytes or operations a second."""

    memory: int
    available: int
    bandwidth: float
    product: float
    disk: float | None
    experts: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Candidate:
    """A model that may be hosted here, in one of its precisions."""

    name: str
    anatomy: Anatomy
    form: str
    """Of the routed experts; a dense model is "int8" throughout."""
    needs: Needs
    command: str
    cache: int | None = None
    """Bytes that the cache takes at most, where that does not depend on the machine."""


@dataclass(frozen=True)
class Fit:
    """What hosting a candidate comes to. Speeds are tokens a second, estimated; None where it cannot be."""

    name: str
    form: str
    verdict: Verdict
    bytes: int
    """Of all its weights in memory."""
    resident: float
    """Share of the routed experts that memory has room for; 1.0 for a dense model that fits."""
    context: int
    prefill: float | None
    decode: float | None
    command: str
    why: str = ""


def fit(candidate: Candidate, machine: Machine, memory: int | None = None) -> Fit:
    """Of one model and precision, in so much memory (what is free, less a reserve)."""
    model, needs = candidate.anatomy, _needs(candidate)
    memory = less_reserve(machine.available) if memory is None else memory
    why = ""
    if (missing := shortfall(memory, needs)) > 0:
        why = f"{missing / 1e9:,.1f} GB of memory are missing"
    elif machine.disk is None and divide(memory, needs).experts < needs.experts:
        why = "its experts do not fit in memory, and no disk could be measured"
    whole = needs.weights + needs.experts
    if why:
        return Fit(candidate.name, candidate.form, "no", whole, 0.0, 0, None, None, "", why)
    plan = divide(memory, needs)
    share = plan.experts / needs.experts if needs.experts else 1.0
    return Fit(
        candidate.name,
        candidate.form,
        "fits" if share == 1.0 else "paged",
        whole,
        share,
        needs.context_in(plan.cache),
        prefill=1 / _prefill_seconds(model, candidate.form, machine, plan.chunk, share),
        decode=1 / _decode_seconds(model, candidate.form, machine, share),
        command=candidate.command,
    )


def machine_of(told: Mapping[str, Any]) -> Machine:
    """From what `engine.measure` printed. Raises KeyError, TypeError or ValueError."""
    return Machine(
        int(told["memory"]), int(told["available"]), float(told["bandwidth"]), float(told["product"]),
        None if told["disk"] is None else float(told["disk"]), dict(told["experts"]),
    )  # fmt: skip


def hit_share(resident: float) -> float:
    """Of a token's experts, how many are found in memory where so many of all are there."""
    at = min(bisect_left([share for share, _ in HITS], resident), len(HITS) - 1)
    (low, below), (high, above) = HITS[max(at - 1, 0)], HITS[at]
    return above if high == low else below + (above - below) * (resident - low) / (high - low)


def _needs(candidate: Candidate) -> Needs:
    """With a cache that does not grow with the machine, where it has such a one."""
    needs = candidate.needs
    if candidate.cache is None:
        return needs
    return replace(needs, context=needs.context_in(candidate.cache + needs.state_bytes))


def _active_experts(model: Anatomy) -> int:
    return model.routed * model.experts_active // model.experts if model.experts else 0


def _decode_seconds(model: Anatomy, form: str, machine: Machine, share: float) -> float:
    routed = _active_experts(model)
    read = (model.active - routed) * DENSE_BITS / 8 / machine.bandwidth
    if not routed:
        return read
    wanted = routed * BITS[form] / 8
    missed = 0.0 if machine.disk is None else (1 - hit_share(share)) * wanted / machine.disk
    return read + wanted / machine.experts[form]["decode"] + missed


def _prefill_seconds(model: Anatomy, form: str, machine: Machine, chunk: int, share: float) -> float:
    """A chunk of a prompt touches every expert of a layer."""
    experts = model.routed * BITS[form] / 8
    routed = _active_experts(model)
    # A prompt needs the head for its last token alone.
    head = sum(part.active for part in model.parts if part.name == "head")
    dense = 2 * (model.active - routed - head) / machine.product
    if not routed:
        return dense
    missed = 0.0 if machine.disk is None else (1 - share) * experts / machine.disk / chunk
    return dense + 2 * routed / machine.experts[form]["prefill"] + missed


def best_first(fits: Sequence[Fit]) -> Iterator[Fit]:
    """Those that run, the quickest first, then those that do not."""
    return iter(sorted(fits, key=lambda each: (each.verdict == "no", -(each.decode or 0.0))))
