"""What a qwen2 file takes of memory once it is loaded, by its header alone."""

from __future__ import annotations

from math import prod

from engine.errors import BadModelFile
from engine.gguf_file import GgufFile
from engine.memory_plan import Needs

HALF, FLOAT = 2, 4
"""Bytes of a number in the cache, and while it is computed with."""


def qwen2_needs(file: GgufFile) -> Needs:
    """See `engine.memory_plan`. Raises BadModelFile where the header lacks a size, or has a senseless one."""
    try:
        return _needs(file)
    except (TypeError, ValueError, ArithmeticError, KeyError):
        raise BadModelFile(f"{file.path}: the sizes in its header make no model; fetch it again.") from None


def _needs(file: GgufFile) -> Needs:
    hidden, heads = _size(file, "embedding_length"), _size(file, "attention.head_count")
    layers, key_heads = _size(file, "block_count"), _size(file, "attention.head_count_kv")
    if hidden % heads or heads % key_heads or layers > len(file.tensors):
        raise ValueError
    matrices = {name: tensor.shape for name, tensor in file.tensors.items() if len(tensor.shape) == 2}
    if "output.weight" in matrices:
        del matrices["token_embd.weight"]  # looked up in the file, row by row
    return qwen2_needs_of(
        values=sum(prod(shape) for shape in matrices.values()),
        hidden=hidden,
        heads=heads,
        key_heads=key_heads,
        inner=file.tensor("blk.0.ffn_gate.weight").shape[0],
        layers=layers,
        context=_size(file, "context_length"),
    )


def qwen2_needs_of(
    *, values: int, hidden: int, heads: int, key_heads: int, inner: int, layers: int, context: int
) -> Needs:
    """`values` are those of the matrices in memory; `inner` is the width of a feed-forward block."""
    keys = key_heads * (hidden // heads)
    return Needs(
        weights=values,
        activations_a_token=FLOAT * (2 * hidden + 4 * inner),
        token_bytes=2 * keys * layers * HALF,
        state_bytes=2 * keys * context * FLOAT,  # keys and values of one layer, widened
        context=context,
    )


def _size(file: GgufFile, key: str) -> int:
    value = file.value(key)
    if type(value) is not int or value < 1:
        raise ValueError
    return value
