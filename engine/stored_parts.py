"""What is stored of a model, by part: parameters, bytes, and what a token reads; by headers alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

from engine.gguf_file import GgufFile

ROUTED = "routed experts"
PARTS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("projector", r"multi_modal_projector\.|\.visual\.merger\."),
        ("vision", r"vision_tower\.|\.visual\."),
        ("embedding", r"embed_tokens\.|^token_embd\."),
        ("head", r"lm_head\.|^output\.weight$"),
        ("norms", r"(?:input|post_attention)_layernorm\.|(?:^|\.)norm\.|(?:attn|ffn|output)_norm\."),
        ("attention", r"\.(?:self_attn|linear_attn)\.|\.attn_"),
        ("shared experts", r"\.shared_experts?[._]"),
        ("router", r"\.(?:gate|router)\.(?:weight|bias)$"),
        ("feed-forward", r"\.mlp\.|\.ffn_"),
    )
)
"""By the names of state dicts, and of qwen2 in GGUF; the first that fits counts."""
NOT_FOR_TEXT = ("projector", "vision", "other")
"""Read for images alone, or by nothing that Ostro does."""


@dataclass(frozen=True)
class Stored:
    """A tensor, or several of one kind."""

    part: str
    kind: str
    parameters: int
    bytes: int
    columns: int


@dataclass
class PartOf:
    parameters: int = 0
    bytes: int = 0
    active: int = 0
    """Parameters that are read for each token of text; of the embedding that is one row."""


@dataclass
class StoredParts:
    parts: dict[str, PartOf] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    """Parameters by how they are stored."""

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts.values())

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts.values())

    @property
    def active(self) -> int:
        return sum(part.active for part in self.parts.values())


def add_up(stored: Iterable[Stored], experts: int = 0, chosen: int = 0) -> StoredParts:
    """`chosen` of `experts` routed experts compute a token."""
    found = StoredParts()
    for each in stored:
        part = found.parts.setdefault(each.part, PartOf())
        part.parameters += each.parameters
        part.bytes += each.bytes
        part.active += _active(each, experts, chosen)
        found.kinds[each.kind] += each.parameters
    if (embedding := found.parts.get("embedding")) and "head" not in found.parts:
        # The head is the embedding once more: nothing to store, all of it to read.
        found.parts["head"] = PartOf(active=embedding.parameters)
    return found


def of_checkpoint(checkpoint: Any) -> Iterator[Stored]:
    """Of a checkpoint of any layout, packed ones too."""
    for name in checkpoint.names():
        weight = checkpoint.weight(name)
        yield _stored(name, weight.kind, tuple(weight.shape), weight.stored_bytes)
    count = checkpoint.expert_count()
    packed = getattr(checkpoint, "layers", {})
    for layer in checkpoint.expert_layers():
        one = checkpoint.expert(layer, 0)
        matrices = [one.gate, one.up, one.down]
        parameters = sum(prod(each.shape) for each in matrices)
        size = sum(each.stored_bytes for each in matrices)
        if layer in packed:  # a record has biases and padding, and nothing of it is read here
            geometry = packed[layer].geometry
            parameters += geometry.biased * (2 * geometry.intermediate + geometry.hidden)
            size = geometry.bytes
        elif one.biases is not None:
            parameters += sum(prod(each.shape) for each in one.biases)
            size = one.stored_bytes
        yield Stored(ROUTED, one.down.kind, count * parameters, count * size, one.gate.shape[-1])


def of_gguf(file: GgufFile) -> Iterator[Stored]:
    for name, tensor in file.tensors.items():
        yield _stored(name, tensor.kind.name, tensor.shape, tensor.data.nbytes)


def _stored(name: str, kind: str, shape: tuple[int, ...], size: int) -> Stored:
    part = next((part for part, pattern in PARTS if pattern.search(name)), "other")
    return Stored(part, kind, prod(shape), size, shape[-1] if shape else 1)


def _active(each: Stored, experts: int, chosen: int) -> int:
    if each.part in NOT_FOR_TEXT:
        return 0
    if each.part == "embedding":
        return each.columns
    if each.part == ROUTED:
        return each.parameters * chosen // max(1, experts)
    return each.parameters
