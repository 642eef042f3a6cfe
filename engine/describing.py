"""What a model's files say of it, and what it could do in so much memory: the figures of `ostro models show`.

    python -I -m engine.describing MODEL [MEMORY]

prints one JSON object. Only headers are read. A process of its own, because all but qwen2 files need torch,
for their layout, and transformers, whose model says what the cache keeps. What goes wrong is one sentence on
standard error, with exit code 3; 4 for a model that this engine does not host.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, UnsupportedModel
from engine.gguf_file import GgufFile
from engine.machine_memory import budget_of
from engine.memory_plan import Needs, divide, shortfall
from engine.model import CACHE_BUDGET
from engine.qwen2_needs import qwen2_needs
from engine.stored_parts import StoredParts, add_up, of_checkpoint, of_gguf

if TYPE_CHECKING:
    from engine.hosting import Hosting

FAILED, UNSUPPORTED = 3, 4
QWEN2 = "qwen2"


def described(path: Path, memory: int | None = None) -> dict[str, Any]:
    """`memory` is what the model may take, in bytes; what is free, less a reserve, where it is None."""
    if path.is_file() and (file := GgufFile(path)).architecture == QWEN2:
        needs = qwen2_needs(file)
        limit = CACHE_BUDGET + needs.state_bytes if memory is None else None
        return _figures(add_up(of_gguf(file)), needs) | _in_memory(needs, memory, limit)
    return _hosted(path, memory)


def _hosted(path: Path, memory: int | None) -> dict[str, Any]:
    from engine.hosting import hosting_of
    from engine.opening import open_any

    checkpoint = open_any(path)
    text = checkpoint.config.get("text_config") or checkpoint.config
    hosting = hosting_of(checkpoint, memory)
    experts, chosen = checkpoint.expert_count(), text.get("num_experts_per_tok") or 0
    return {
        "name": checkpoint.config.get("name") or path.stem,
        "architecture": text["model_type"],
        "format": checkpoint.layout,
        "layers": text.get("num_hidden_layers"),
        "experts": experts,
        "experts_a_token": chosen if experts else 0,
        "vocabulary": text.get("vocab_size"),
        **_figures(add_up(of_checkpoint(checkpoint), experts, chosen), hosting.needs),
        **_placed(hosting),
    }


def _figures(parts: StoredParts, needs: Needs) -> dict[str, Any]:
    largest_first = sorted(parts.parts.items(), key=lambda item: -item[1].bytes)
    return {
        "context": needs.context,
        "parameters": parts.parameters,
        "active_parameters": parts.active,
        "bytes": parts.bytes,
        "parts": {name: asdict(part) for name, part in largest_first},
        "tensor_types": dict(parts.kinds.most_common()),
        "cache_token_bytes": needs.token_bytes,
    }


def _in_memory(needs: Needs, memory: int | None, cache_limit: int | None) -> dict[str, Any]:
    """What a qwen2 file comes to in this memory; `cache_limit` is of a cache that does not grow with it."""
    budget = budget_of(memory)
    told: dict[str, Any] = {"memory": budget, "memory_needed": shortfall(0, needs)}
    if shortfall(budget, needs) > 0:
        return told | {"context_in_memory": 0}
    cache = divide(budget, needs).cache
    return told | {
        "context_in_memory": needs.context_in(cache if cache_limit is None else min(cache, cache_limit))
    }


def _placed(hosting: Hosting) -> dict[str, Any]:
    """What a hosted model comes to where it would lie here."""
    needs = hosting.needs
    told: dict[str, Any] = {
        "precision": hosting.precision,
        "memory": hosting.memory,
        "memory_needed": hosting.least_memory,
    }
    if hosting.device_memory is not None:
        told |= {"device": hosting.device, "device_memory": hosting.device_memory}
    try:
        plan = hosting.plan()
    except EngineError:
        return told | {"context_in_memory": 0}
    told["context_in_memory"] = needs.context_in(plan.cache)
    if needs.experts:
        told["experts_in_memory"] = round(plan.experts / needs.experts, 4)
        if plan.device_experts:
            told["experts_on_device"] = round(plan.device_experts / needs.experts, 4)
    return told


def main(model: str, memory: str | None = None) -> int:
    try:
        json.dump(described(Path(model), None if memory is None else int(memory)), sys.stdout)
    except EngineError as error:
        print(error, file=sys.stderr)
        return UNSUPPORTED if isinstance(error, UnsupportedModel) else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
