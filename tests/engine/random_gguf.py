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

from engine.byte_level import byte_alphabet
from tests.engine.random_checkpoints import State, state_of
from tests.engine.tekken_files import KNOWN, special_name

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
SPECIAL = [special_name(n) for n in range(KNOWN["v15"])]
CONTROL, NORMAL = 3, 1


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
    model: Any,
    path: Path,
    choose: Choose,
    *,
    merged: bool = False,
    legacy: bool = False,
    tokenizer: bool = False,
    temperature: bool = False,
) -> State:
    """`choose` says the type of a matrix by its GGUF name; vectors and the router stay F32, as in llama.cpp.

    `merged`: gate and up of the experts in one stack. `legacy`: `attn_kv_b` whole. `tokenizer`: with one, of
    as many tokens as the model's vocabulary. `temperature`: with the keys of llama-4 scaling, which the
    converter leaves out where it starts from config.json. K-quants, which the package cannot make, are random
    blocks instead of the model's weights. Returns the truth.
    """
    text = getattr(model.config, "text_config", model.config)
    plain, up_width = text.qk_nope_head_dim, text.v_head_dim
    writer = GGUFWriter(path, "mistral4")
    _metadata(writer, text)
    if temperature:
        writer.add_attn_temperature_scale(text.rope_parameters["llama_4_scaling_beta"])
        writer.add_attn_temperature_length(text.rope_parameters["original_max_position_embeddings"])
    if tokenizer:
        _tokenizer(writer, text.vocab_size)
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
            parts = value.reshape(-1, plain + up_width, value.shape[1])
            key = add(f"{block}.attn_k_b.weight", parts[:, :plain].transpose(1, 2))
            up = add(f"{block}.attn_v_b.weight", parts[:, plain:])
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
    writer.add_key_length(text.kv_lora_rank + text.qk_rope_head_dim)
    writer.add_value_length(text.kv_lora_rank)
    writer.add_key_length_mla(text.qk_nope_head_dim + text.qk_rope_head_dim)
    writer.add_value_length_mla(text.v_head_dim)
    writer.add_expert_feed_forward_length(text.moe_intermediate_size)
    writer.add_expert_count(text.n_routed_experts)
    writer.add_expert_shared_count(text.n_shared_experts)
    writer.add_expert_weights_scale(text.routed_scaling_factor)
    writer.add_expert_weights_norm(True)
    writer.add_rope_dimension_count(text.qk_rope_head_dim)
    writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


def _tokenizer(writer: GGUFWriter, size: int) -> None:
    """Small 4's special tokens, one token a byte, and merges of a space and what follows it."""
    alphabet = list(byte_alphabet())
    merges = [("Ġ", token) for token in alphabet][: size - len(SPECIAL) - len(alphabet)]
    normal = [*alphabet, *(left + right for left, right in merges)]
    assert len(SPECIAL) + len(normal) == size, "a vocabulary of 294 to 550 tokens"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list([*SPECIAL, *normal])
    writer.add_token_types([CONTROL] * len(SPECIAL) + [NORMAL] * len(normal))
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(SPECIAL.index("<s>"))
    writer.add_eos_token_id(SPECIAL.index("</s>"))
    writer.add_pad_token_id(SPECIAL.index("<pad>"))
