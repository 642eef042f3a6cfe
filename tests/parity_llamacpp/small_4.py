"""A small random Mistral Small 4 with heads of the true size (64 + 64 values, latents of 256), in Ostro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints import open_checkpoint
from engine.experts import ExpertStore
from engine.hosted import HostedModel, SoftmaxScale, activation_of
from engine.known_configs import SMALL_4
from engine.opening import open_hosted
from tests.engine.random_checkpoints import random_model

VOCABULARY, TRAINED = 512, 8192
CONFIG: dict[str, Any] = {
    **SMALL_4["text_config"],
    "architectures": ["Mistral4ForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 256,
    "n_routed_experts": 16,
    "max_position_embeddings": 1 << 20,
}
"""The published one, rope parameters and all, but for sizes. Rows of 256 take every K-quant; keys' 64 do not,
as in the model itself, so that llama.cpp's fallbacks are met."""


def made() -> Any:
    """The model of transformers."""
    return random_model(CONFIG)


def sequence(count: int) -> list[int]:
    """Ids of ordinary tokens."""
    generator = torch.Generator().manual_seed(count)
    return torch.randint(38, VOCABULARY, (count,), generator=generator).tolist()


def parts(ids: list[int]) -> list[list[int]]:
    """A long prefill (whose latents are expanded), a chunk (absorbed), and eight tokens of decoding."""
    return [ids[:200], ids[200:-8], *([token] for token in ids[-8:])]


def exact(path: Path, scale: SoftmaxScale) -> HostedModel:
    """Everything in float32, experts too: what the file says, and no rounding of ours."""
    checkpoint = open_checkpoint(path)
    activation = activation_of(checkpoint.config)
    store = ExpertStore.open(checkpoint, budget=1 << 30, profile=None, activation=activation, form="float32")
    return HostedModel.load(checkpoint, store, precision="float32", softmax_scale=scale)


def as_run(path: Path, scale: SoftmaxScale) -> HostedModel:
    """As `ostro run` opens it: dense layers in int8, experts in 4 or 8 bits."""
    network = open_hosted(path, memory=1 << 30, softmax_scale=scale).network
    assert isinstance(network, HostedModel)
    return network


def logits(model: HostedModel, fed: list[list[int]], first: int = 0) -> Tensor:
    """float32 [tokens, vocabulary] of one sequence that is fed in parts, from position `first` on."""
    cache, rows, place = model.new_cache(), [], first
    for ids in fed:
        rows.append(model.prefill(ids, cache, positions=list(range(place, place + len(ids)))))
        place += len(ids)
    return model.logits(torch.cat(rows))
