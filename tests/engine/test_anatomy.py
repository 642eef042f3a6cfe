"""Parameters by part, counted without weights."""

from __future__ import annotations

from typing import Any

import pytest

from engine.anatomy import anatomy
from engine.errors import UnsupportedModel
from engine.known_configs import QWEN2, SMALL_4

PUBLISHED = 119_401_317_952
"""Numbers in the published FP8 file, its scales included."""


def test_small_4_is_the_published_model() -> None:
    found = anatomy(SMALL_4)
    # A layer has a weight's and an input's scale for each of 5 projections of attention, 3 of the shared
    # expert, and, of the two fused tensors, each of 128 experts.
    scales = 36 * 2 * (5 + 3 + 2 * 128)
    assert found.parameters + scales == PUBLISHED
    assert (found.layers, found.experts, found.experts_active) == (36, 128, 4)
    assert found.routed == 36 * 128 * 3 * 4096 * 2048
    assert 6.0e9 < found.active < 6.5e9
    assert found.cache_values == 36 * (256 + 64)


def test_the_catalogues_models() -> None:
    assert anatomy(QWEN2["qwen2.5-coder-1.5b"]).parameters == 1_543_714_304
    assert anatomy(QWEN2["qwen2.5-coder-0.5b"]).parameters == 494_032_768


TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96}
CONFIGS: dict[str, dict[str, Any]] = {
    "mistral4": {
        "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16,
        "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32,
        "intermediate_size": 48, "first_k_dense_replace": 1, "num_key_value_heads": 4, "head_dim": 16,
    },
    "mistral": {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16},
    "mixtral": {"intermediate_size": 48, "num_key_value_heads": 2, "num_local_experts": 4,
                "num_experts_per_tok": 2},
    "qwen2": {"intermediate_size": 48, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3_moe": {"moe_intermediate_size": 32, "intermediate_size": 48, "num_key_value_heads": 2,
                  "num_experts": 8, "num_experts_per_tok": 2, "head_dim": 16},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_as_many_as_transformers_makes(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, Mistral4ForCausalLM

    config = {"model_type": kind, **TINY, **CONFIGS[kind]}
    # transformers knows mistral4 as a part of mistral3 alone, so not by AutoModelForCausalLM.
    make = AutoModelForCausalLM.from_config if kind != "mistral4" else Mistral4ForCausalLM._from_config
    with torch.device("meta"):
        model = make(AutoConfig.for_model(kind, **TINY, **CONFIGS[kind]))
    assert anatomy(config).parameters == sum(weight.numel() for weight in model.parameters())


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="'mamba' cannot be sized"):
        anatomy({"model_type": "mamba"})
