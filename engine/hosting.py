"""Where a hosted model would run on this machine, in which precision, and how much memory each part gets.

Asked before anything is loaded: by whoever loads it, and by whoever only says what would come of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from engine.experts import bytes_for
from engine.hosted import Precision, needs_of
from engine.machine_memory import budget_of, less_reserve
from engine.memory_plan import Needs, Plan, divide, divide_beside, shortfall

FORMS = {
    "F32": "float32",
    "F16": "bfloat16",
    "BF16": "bfloat16",
    "F8_E4M3": "int8",
    "Q8_0": "int8",
    "Q6_K": "int8",
    "Q5_K": "int8",
}
"""How experts that are not packed are kept in memory, by how they are stored; 4 bits for all others."""


@dataclass(frozen=True)
class Hosting:
    """How a checkpoint would be hosted here."""

    device: str
    precision: Precision
    """Of everything but the routed experts."""
    needs: Needs
    memory: int
    """Bytes that it may take of the processor's memory."""
    device_memory: int | None = None
    """Bytes that it may take of the device's; None where the processor is the device."""

    def plan(self) -> Plan:
        """Raises EngineError where the memory is too little."""
        if self.device_memory is None:
            return divide(self.memory, self.needs)
        return divide_beside(self.device_memory, self.memory, self.needs)

    @property
    def least_memory(self) -> int:
        """Bytes of the processor's memory without which it does not work."""
        return shortfall(0, self.needs) if self.device_memory is None else self.needs.least_experts


def hosting_of(checkpoint: Any, memory: int | None = None, precision: Precision | None = None) -> Hosting:
    """`memory` is what the model may take, in bytes; what is free, less a reserve, where it is None.
    `precision` is int8 on a processor and bfloat16 on a GPU unless named.

    Raises BadModelFile, UnsupportedModel, EngineError.
    """
    budget = budget_of(memory)
    if not torch.cuda.is_available():
        precision = precision or "int8"
        return Hosting("cpu", precision, needs_of_checkpoint(checkpoint, precision), budget)
    precision = precision or "bfloat16"
    needs = needs_of_checkpoint(checkpoint, precision)
    return Hosting("cuda", precision, needs, budget, less_reserve(torch.cuda.mem_get_info()[0]))


def needs_of_checkpoint(checkpoint: Any, precision: Precision) -> Needs:
    """What hosting it takes, by its headers alone. Raises BadModelFile, UnsupportedModel, EngineError."""
    least = every = 0
    if checkpoint.expert_layers():
        least, every = bytes_for(checkpoint, form_of(checkpoint))
    return needs_of(
        checkpoint.config,
        checkpoint.path,
        precision=precision,
        names=frozenset(checkpoint.names()),
        experts=every,
        least_experts=least,
    )


def form_of(checkpoint: Any) -> str | None:
    """What routed experts are kept in, where that is ours to say: as most of their matrices are stored, since
    mixes like Q4_K_M keep some of them in more bits, those of the first layer among them."""
    if checkpoint.layout == "packed":
        return None
    stored = [checkpoint.expert(layer, 0) for layer in checkpoint.expert_layers()]
    kinds = Counter(weight.kind for expert in stored for weight in (expert.gate, expert.up, expert.down))
    return FORMS.get(kinds.most_common(1)[0][0], "int4")
