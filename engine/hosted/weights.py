"""A checkpoint's dense weights into a transformers model that was built without any, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from engine.errors import BadModelFile
from engine.hosted.experts import is_experts, is_router
from engine.hosted.precision import (
    COMPUTED_IN,
    Int8Embedding,
    Int8Linear,
    Precision,
    StoredEmbedding,
    Weight,
    read_floats,
)
from engine.quantised import use_fbgemm

NEVER_INT8 = ("kv_b_proj", "shared_expert_gate", "in_proj_a", "in_proj_b", "in_proj_ba")
"""Linear layers that stay floats: one that attention takes apart, and gates of a few rows."""
VISION = ("vision_tower", "multi_modal_projector")
"""Stays floats as well: published quantised checkpoints leave it as it was trained."""
RELEASED_EVERY = 64 << 20
"""Values read after which their pages are let go of."""
PREFIXES = (("model.", "model.language_model."), ("model.language_model.", "language_model.model."))
"""Text models are stored on their own or within a wrapper with a vision tower; and under both names of it."""
HEAD = "lm_head.weight"


class DenseWeights(Protocol):
    """What is read of a checkpoint here."""

    @property
    def path(self) -> Any: ...

    def names(self) -> Sequence[str]:
        """As in the state dict of the transformers class, routed experts left out."""
        ...

    def weight(self, name: str) -> Weight: ...

    def release(self) -> None:
        """Let go of pages read so far."""
        ...


class Loader:
    """Fills one model."""

    def __init__(
        self,
        checkpoint: DenseWeights,
        precision: Precision,
        device: torch.device,
        progress: Callable[[float], None] | None = None,
    ):
        self._checkpoint, self._device = checkpoint, device
        self._precision: Precision = precision
        self._progress = progress
        self._names = set(checkpoint.names())
        if precision == "int8":
            use_fbgemm()

    def fill(self, model: nn.Module) -> None:
        """Every parameter that the model has. Raises BadModelFile where one is missing or has another
        shape."""
        total = sum(each.numel() for each in model.parameters())
        read = let_go = 0
        tied = is_tied(model, self._names)
        for name, module in list(model.named_modules()):
            if not _has_weights(module) or (tied and name == "lm_head"):
                continue
            read += sum(each.numel() for each in module.parameters(recurse=False))
            self._fill(model, name, module, tied)
            if read - let_go >= RELEASED_EVERY:
                self._checkpoint.release()
                let_go = read
            if self._progress:
                self._progress(min(read / total, 1.0))
        if tied:
            self._tie(model)
        self._checkpoint.release()

    def _fill(self, model: nn.Module, name: str, module: nn.Module, tied: bool) -> None:
        dtype = kept_in(name, module, self._precision)
        if dtype == torch.int8 and isinstance(module, nn.Linear):
            bias = None if module.bias is None else self._find(f"{name}.bias", module.bias)
            model.set_submodule(name, Int8Linear(self._find(f"{name}.weight", module.weight), bias))
            return
        if isinstance(module, nn.Embedding) and dtype == torch.int8:
            weight = self._find(f"{name}.weight", module.weight)
            model.set_submodule(name, StoredEmbedding(weight) if tied else Int8Embedding(weight))
            return
        for part, empty in list(module.named_parameters(recurse=False)):
            weight = self._find(f"{name}.{part}", empty)
            full = read_floats(weight, dtype, self._device).reshape(empty.shape)
            setattr(module, part, nn.Parameter(full, requires_grad=False))

    def _tie(self, model: Any) -> None:
        embedding: nn.Module = model.get_input_embeddings()
        if isinstance(embedding, nn.Embedding):
            model.lm_head.weight = embedding.weight
            return
        name = next(name for name, module in model.named_modules() if module is embedding)
        model.lm_head = Int8Linear(self._checkpoint.weight(self._stored(f"{name}.weight")), None)

    def _find(self, name: str, empty: torch.Tensor) -> Weight:
        weight = self._checkpoint.weight(self._stored(name))
        if tuple(weight.shape) != tuple(empty.shape):
            raise BadModelFile(
                f"{self._checkpoint.path}: {name} has the shape {list(weight.shape)}, but by its config.json "
                f"the model needs {list(empty.shape)}; fetch both again."
            )
        return weight

    def _stored(self, name: str) -> str:
        for stored in _spellings(name):
            if stored in self._names:
                return stored
        raise BadModelFile(f"{self._checkpoint.path} has no tensor {name}; fetch the model again.")


def is_tied(model: nn.Module, names: Collection[str]) -> bool:
    """Whether the head is the embedding once more, in a model built of its configuration.

    A head that is stored counts, whatever the configuration says: transformers takes a `mistral3` for tied
    where config.json is silent, as that of Mistral Small 3.1 and 3.2 is, and they have heads of their own.
    """
    said = bool(getattr(model.config, "tie_word_embeddings", False))
    return said and not any(stored in names for stored in _spellings(HEAD))


def kept_in(name: str, module: nn.Module, precision: Precision) -> torch.dtype:
    """What the weights of this module of a model are kept in; int8 for a linear layer or an embedding."""
    if precision == "int8" and not any(part in VISION for part in name.split(".")):
        linear = isinstance(module, nn.Linear) and name.rpartition(".")[2] not in NEVER_INT8
        if linear or isinstance(module, nn.Embedding):
            return torch.int8
    return torch.float32 if is_router(module) else COMPUTED_IN[precision]


def held_bytes(model: nn.Module, precision: Precision, tied: bool) -> int:
    """What a model without weights will take once it is filled; its routed experts are not counted."""
    total = 0
    for name, module in model.named_modules():
        if not _has_weights(module) or is_experts(module):
            continue
        dtype = kept_in(name, module, precision)
        # Of a tied matrix the head is kept in 8 bits, and nothing of the embedding; else the embedding alone.
        twice = isinstance(module, nn.Embedding) if dtype == torch.int8 else name == "lm_head"
        if not (tied and twice):
            total += sum(_held(each, dtype) for each in module.parameters(recurse=False))
    return total


def _held(weight: torch.Tensor, dtype: torch.dtype) -> int:
    """Bytes; in 8 bits a row has a scale, and a bias stays a float."""
    if dtype != torch.int8:
        return weight.numel() * dtype.itemsize
    scales = weight.shape[0] if weight.dim() > 1 else 0
    return (weight.numel() if scales else weight.numel() * 4) + scales * 4


def _spellings(name: str) -> Iterator[str]:
    yield name
    if name == HEAD:
        yield from ("language_model.lm_head.weight", "model.language_model.lm_head.weight")
    for ours, other in PREFIXES:
        if name.startswith(ours):
            yield other + name.removeprefix(ours)


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None
