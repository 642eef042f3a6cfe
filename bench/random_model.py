"""Packed models of random weights, of any size: written a piece at a time, so that 13 billion parameters take
no more memory than one expert and a few rows.

Values are random bits, scales such that a layer neither shrinks nor grows what goes through it by much: a
kernel is not quicker on these than on trained weights, and nothing overflows.
"""

from __future__ import annotations

import copy
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from engine.experts.packed import DENSE, FORMAT, KINDS, MANIFEST, VERSION, layer_file
from engine.experts.record import Geometry
from engine.known_configs import SMALL_4

VALUES_AT_ONCE, ROLLED_BY = 1 << 22, 1_009
TINY = {
    "hidden_size": 64, "moe_intermediate_size": 64, "intermediate_size": 64, "n_routed_experts": 8,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "head_dim": 32,
}  # fmt: skip
"""In the place of Small 4's sizes, for tests of what is built on this."""


def small_4(layers: int, vocabulary: int, **sizes: Any) -> dict[str, Any]:
    """Small 4's language model in its true width, with so many layers and tokens."""
    text = copy.deepcopy(SMALL_4["text_config"])
    text |= {"num_hidden_layers": layers, "vocab_size": vocabulary, "max_position_embeddings": 1 << 20}
    return text | sizes


def write_packed(folder: Path, config: Mapping[str, Any], form: str) -> Path:
    """A packed mistral4 model at `folder`, which does not exist yet."""
    folder.mkdir()
    experts, layers = config["n_routed_experts"], config["num_hidden_layers"]
    geometry = Geometry(form, config["hidden_size"], config["moe_intermediate_size"])
    random = np.random.default_rng(0)
    dense = _write_dense(folder / DENSE, _dense_shapes(config), random)
    entries = [
        {
            "layer": layer, "kept": [], "record_bytes": geometry.bytes,
            "checksums": write_experts(folder / layer_file(layer), geometry, experts, random),
        }
        for layer in range(layers)
    ]  # fmt: skip
    manifest = {
        "format": FORMAT, "version": VERSION, "form": form, "hidden": geometry.hidden,
        "intermediate": geometry.intermediate, "biased": False, "experts": experts, "layers": entries,
        "dense": dense, "config": dict(config),
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def write_experts(path: Path, geometry: Geometry, experts: int, random: np.random.Generator) -> list[int]:
    """A layer's file, record by record; returns the checksums."""
    checksums = []
    with path.open("wb") as file:
        for _ in range(experts):
            record = _record(geometry, random)
            checksums.append(zlib.crc32(record.data))
            file.write(record.data)
        _flush(file)
    return checksums


def _record(geometry: Geometry, random: np.random.Generator) -> np.ndarray:
    record = np.frombuffer(random.bytes(geometry.bytes), dtype=np.uint8).copy()
    for name, part in geometry.parts.items():
        here = record[part.offset : part.offset + part.bytes]
        if name.endswith(".scales") and part.kind == torch.bfloat16:
            words = here.view(np.uint16)  # sign and fraction random, the exponent that of 2 ** -8 to 2 ** -7
            words &= 0x807F
            words |= 119 << 7
        elif name.endswith(".scales"):
            here.view(np.float32)[:] = random.uniform(1e-4, 3e-4, prod(part.shape))
        elif part.kind.is_floating_point:
            bits = torch.from_numpy(here).view(part.kind)
            bits.copy_(_normal(random, bits.numel(), part.shape[-1]))
    return record


def _dense_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of everything but the routed experts, by the names of transformers' own class."""
    from engine.hosted.build import build

    model = build(dict(config), "random weights", torch.device("cpu"))
    return {name: tuple(value.shape) for name, value in model.state_dict().items() if ".experts." not in name}


def _write_dense(
    path: Path, shapes: Mapping[str, tuple[int, ...]], random: np.random.Generator
) -> dict[str, int]:
    """bfloat16, as published models have them; returns the checksums."""
    size = KINDS["BF16"].itemsize
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + prod(shape) * size]}
        at += prod(shape) * size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)  # data begin at a multiple of 64
    checksums = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            checksum = 0
            for values in _dense_values(shape, random):
                data = values.bfloat16().view(torch.uint8).numpy().data
                checksum = zlib.crc32(data, checksum)
                file.write(data)
            checksums[name] = checksum
        _flush(file)
    return checksums


def _dense_values(shape: tuple[int, ...], random: np.random.Generator) -> Iterator[torch.Tensor]:
    """Of a norm around one, of a matrix around zero; in a large one, the same few million over and over, each
    time rolled on by a prime, so that no two rows (two tokens, say) are the same."""
    left = prod(shape)
    if len(shape) == 1:
        yield 1 + _normal(random, left, 100)
        return
    some = _normal(random, min(left, VALUES_AT_ONCE), shape[-1])
    while left:
        yield some[:left]
        left -= min(left, len(some))
        some = some.roll(ROLLED_BY)


def _normal(random: np.random.Generator, count: int, width: int) -> torch.Tensor:
    return torch.from_numpy(random.standard_normal(count, dtype=np.float32)).mul_(width**-0.5)


def _flush(file: BinaryIO) -> None:
    """To the disk, so that the pages can be dropped and are no debt of a later measurement."""
    file.flush()
    os.fsync(file.fileno())
