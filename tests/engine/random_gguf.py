"""The language model of a small random Mistral Small 4 in GGUF, as llama.cpp's converter writes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, RopeScalingType
from gguf.quants import dequantize, quantize

from tests.engine.random_checkpoints import PLAIN, ROTARY, VALUE, State, state_of

KINDS = GGMLQuantizationType
HALVES = {
    KINDS.Q2_K: (80, 82), KINDS.Q3_K: (108,), KINDS.Q4_K: (0, 2), KINDS.Q5_K: (0, 2), KINDS.Q6_K: (208,),
}  # fmt: skip
"""Where in a block its 16-bit scales are."""
NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.o_proj": "attn_output", "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}  # fmt: skip
Choose = Callable[[str], GGMLQuantizationType]


def random_blocks(kind: GGMLQuantizationType, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Any bits but for the 16-bit scales, which are small numbers: uint8 [rows, bytes of a row]."""
    block, size = GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = random.uniform(1e-5, 1e-4, (len(blocks), 1)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8)
    return blocks.reshape(rows, -1)


def write_gguf(
    model: Any, path: Path, choose: Choose, *, merged: bool = False, legacy: bool = False
) -> State:
    """`choose` says the type of a matrix by its GGUF name; vectors and the router stay F32, as in llama.cpp.

    `merged`: gate and up of the experts in one stack. `legacy`: `attn_kv_b` whole. K-quants, which the
    package cannot make, are random blocks instead of the model's weights. Returns the truth.
    """
    writer = GGUFWriter(path, "mistral4")
    _metadata(writer, model.config.text_config)
    truth: State = {}

    def add(name: str, value: torch.Tensor) -> torch.Tensor:
        kind = KINDS.F32 if value.dim() == 1 or "ffn_gate_inp" in name else choose(name)
        if value.shape[-1] % GGML_QUANT_SIZES[kind][0]:
            kind = KINDS.Q8_0 if value.shape[-1] % 32 == 0 else KINDS.F16
        if kind in HALVES:
            rows = value.reshape(-1, value.shape[-1]).shape[0]
            data = random_blocks(kind, rows, value.shape[-1], seed=len(truth) + len(name))
            data = data.reshape(*value.shape[:-1], -1)
        else:
            data = quantize(value.contiguous().numpy(), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        return torch.from_numpy(np.array(dequantize(data, kind))).reshape(value.shape)

    for full, value in state_of(model).items():
        name = full.replace("model.language_model.", "model.")
        match = re.match(r"model\.layers\.(\d+)\.(.*?)(?:\.weight)?$", name)
        if name.startswith(("model.vision_tower", "model.multi_modal")):
            continue
        if not match:
            top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
            truth[name] = add(f"{top[name.removesuffix('.weight')]}.weight", value)
            continue
        block = f"blk.{match[1]}"
        if match[2] == "self_attn.kv_b_proj" and legacy:
            truth[name] = add(f"{block}.attn_kv_b.weight", value)
        elif match[2] == "self_attn.kv_b_proj":
            parts = value.reshape(-1, PLAIN + VALUE, value.shape[1])
            key = add(f"{block}.attn_k_b.weight", parts[:, :PLAIN].transpose(1, 2))
            up = add(f"{block}.attn_v_b.weight", parts[:, PLAIN:])
            truth[name] = torch.cat((key.transpose(1, 2), up), dim=1).reshape(value.shape)
        elif match[2] == "mlp.experts.down_proj":
            truth[name] = add(f"{block}.ffn_down_exps.weight", value)
        elif match[2] == "mlp.experts.gate_up_proj" and merged:
            truth[name] = add(f"{block}.ffn_gate_up_exps.weight", value)
        elif match[2] == "mlp.experts.gate_up_proj":
            gate, up = value.chunk(2, dim=1)
            gate, up = add(f"{block}.ffn_gate_exps.weight", gate), add(f"{block}.ffn_up_exps.weight", up)
            truth[name] = torch.cat((gate, up), dim=1)
        else:
            truth[name] = add(f"{block}.{NAMES[match[2]]}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return truth


def _metadata(writer: GGUFWriter, text: Any) -> None:
    rope = text.rope_parameters
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_expert_used_count(text.num_experts_per_tok)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    writer.add_leading_dense_block_count(text.first_k_dense_replace)
    writer.add_vocab_size(text.vocab_size)
    writer.add_q_lora_rank(text.q_lora_rank)
    writer.add_kv_lora_rank(text.kv_lora_rank)
    writer.add_key_length(text.kv_lora_rank + ROTARY)
    writer.add_value_length(text.kv_lora_rank)
    writer.add_key_length_mla(PLAIN + ROTARY)
    writer.add_value_length_mla(VALUE)
    writer.add_expert_feed_forward_length(text.moe_intermediate_size)
    writer.add_expert_count(text.n_routed_experts)
    writer.add_expert_shared_count(text.n_shared_experts)
    writer.add_expert_weights_scale(text.routed_scaling_factor)
    writer.add_expert_weights_norm(True)
    writer.add_rope_dimension_count(ROTARY)
    writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
