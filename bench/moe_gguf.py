"""A GGUF file of Small 4's shape with random weights, for llama.cpp: as its converter writes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, RopeScalingType

KINDS = GGMLQuantizationType
HALVES = {KINDS.Q4_K: (0, 2), KINDS.Q8_0: (0,)}
"""Where in a block its 16-bit scales are."""


def write_gguf(path: Path, config: Mapping[str, Any], kind: str) -> Path:
    """Every matrix in `kind` ("Q4_K" or "Q8_0"), vectors and the router in float32.

    Matrices of the same shape are the same bits, each in its own place of the file.
    """
    writer = GGUFWriter(path, "mistral4")
    _metadata(writer, config)
    made: dict[tuple[int, ...], np.ndarray] = {}
    for name, shape in _tensors(config):
        if len(shape) == 1 or name.endswith("gate_inp.weight"):
            around = 1.0 if len(shape) == 1 else 0.0
            values = np.random.default_rng(len(name)).standard_normal(shape, dtype=np.float32)
            writer.add_tensor(name, around + values * np.float32(shape[-1] ** -0.5))
            continue
        stored = KINDS[kind] if shape[-1] % GGML_QUANT_SIZES[KINDS[kind]][0] == 0 else KINDS.Q8_0
        if shape not in made:
            made[shape] = _blocks(stored, shape)
        writer.add_tensor(name, made[shape], raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _blocks(kind: GGMLQuantizationType, shape: tuple[int, ...]) -> np.ndarray:
    """Random bits but for the scales: uint8 [..., bytes of a row]."""
    block, size = GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(0)
    count = int(np.prod(shape)) // block
    blocks = np.frombuffer(random.bytes(count * size), dtype=np.uint8).reshape(count, size).copy()
    for at in HALVES[kind]:
        scales = random.uniform(1e-5, 1e-4, (count, 1)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def _tensors(config: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    hidden, half, experts = (
        config["hidden_size"], config["moe_intermediate_size"], config["n_routed_experts"]
    )  # fmt: skip
    heads, rank, rotary = config["num_attention_heads"], config["kv_lora_rank"], config["qk_rope_head_dim"]
    plain, value, query = config["qk_nope_head_dim"], config["v_head_dim"], config["q_lora_rank"]
    layer = {
        "attn_norm": (hidden,), "attn_q_a": (query, hidden), "attn_q_a_norm": (query,),
        "attn_q_b": (heads * (plain + rotary), query), "attn_kv_a_mqa": (rank + rotary, hidden),
        "attn_kv_a_norm": (rank,), "attn_k_b": (heads, rank, plain), "attn_v_b": (heads, value, rank),
        "attn_output": (hidden, heads * value), "ffn_norm": (hidden,), "ffn_gate_inp": (experts, hidden),
        "ffn_gate_exps": (experts, half, hidden), "ffn_up_exps": (experts, half, hidden),
        "ffn_down_exps": (experts, hidden, half), "ffn_gate_shexp": (half, hidden),
        "ffn_up_shexp": (half, hidden), "ffn_down_shexp": (hidden, half),
    }  # fmt: skip
    tensors: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (config["vocab_size"], hidden))]
    for n in range(config["num_hidden_layers"]):
        tensors += [(f"blk.{n}.{name}.weight", shape) for name, shape in layer.items()]
    return [*tensors, ("output_norm.weight", (hidden,)), ("output.weight", (config["vocab_size"], hidden))]


def _metadata(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    rope, rank, rotary = config["rope_parameters"], config["kv_lora_rank"], config["qk_rope_head_dim"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_key_length(rank + rotary)
    writer.add_value_length(rank)
    writer.add_key_length_mla(config["qk_nope_head_dim"] + rotary)
    writer.add_value_length_mla(config["v_head_dim"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(True)
    writer.add_rope_dimension_count(rotary)
    writer.add_tokenizer_model("none")
