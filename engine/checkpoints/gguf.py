"""GGUF files of architecture mistral4, as llama.cpp's converter writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from engine.checkpoints.gguf_config import gguf_config
from engine.checkpoints.gguf_parts import open_parts
from engine.checkpoints.gguf_weight import GgufWeight, KeyValueUp
from engine.checkpoints.named import NamedCheckpoint
from engine.checkpoints.weight import Weight
from engine.errors import BadModelFile, UnsupportedModel
from engine.gguf_file import Tensor

ARCHITECTURE = "mistral4"
TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q_a.weight": "self_attn.q_a_proj.weight",
    "attn_q_a_norm.weight": "self_attn.q_a_layernorm.weight",
    "attn_q_b.weight": "self_attn.q_b_proj.weight",
    "attn_kv_a_mqa.weight": "self_attn.kv_a_proj_with_mqa.weight",
    "attn_kv_a_norm.weight": "self_attn.kv_a_layernorm.weight",
    "attn_kv_b.weight": "self_attn.kv_b_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "ffn_gate_inp.weight": "mlp.gate.weight",
    "ffn_gate_shexp.weight": "mlp.shared_experts.gate_proj.weight",
    "ffn_up_shexp.weight": "mlp.shared_experts.up_proj.weight",
    "ffn_down_shexp.weight": "mlp.shared_experts.down_proj.weight",
    "ffn_gate_exps.weight": "mlp.experts.gate_proj",
    "ffn_up_exps.weight": "mlp.experts.up_proj",
    "ffn_gate_up_exps.weight": "mlp.experts.gate_up_proj",
    "ffn_down_exps.weight": "mlp.experts.down_proj",
}
KEYS, VALUES = "attn_k_b.weight", "attn_v_b.weight"
UNUSED = ("rope_freqs.weight",)
"""Follows from the metadata."""
BLOCK = re.compile(r"^blk\.(\d{1,6})\.(.+)$")


def open_gguf(path: Path) -> NamedCheckpoint:
    """Raises ModelNotFound, BadModelFile or UnsupportedModel."""
    files, tensors = open_parts(path)
    first = files[0]
    if first.architecture != ARCHITECTURE:
        raise UnsupportedModel(
            f"{path} is a GGUF file of the architecture {first.architecture[:60]!r}; of mixtures of experts "
            f"Ostro reads {ARCHITECTURE} as GGUF, the other families as safetensors."
        )
    if "token_embd.weight" not in tensors or len(tensors["token_embd.weight"].shape) != 2:
        raise BadModelFile(f"{path} has no embedding; fetch it again.")
    vocabulary = tensors["token_embd.weight"].shape[0]
    config = gguf_config(first, vocabulary, tied="output.weight" not in tensors)

    def release() -> None:
        for file in files:
            file.release()

    return NamedCheckpoint(path, "gguf", config, _weights(path, tensors), release)


def _weights(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Weight]:
    weights: dict[str, Weight] = {}
    for old, tensor in tensors.items():
        match = BLOCK.match(old)
        if old in UNUSED or (match and match[2] == VALUES):
            continue
        prefix = f"model.layers.{int(match[1])}." if match else ""
        if match and match[2] == KEYS:
            other = f"blk.{match[1]}.{VALUES}"
            if other not in tensors:
                raise BadModelFile(f"{path} has {old} without {other}; fetch it again.")
            name = f"{prefix}self_attn.kv_b_proj.weight"
            weight: Weight = KeyValueUp(name, GgufWeight(old, tensor), GgufWeight(other, tensors[other]))
        elif match and match[2] in LAYER:
            weight = GgufWeight(prefix + LAYER[match[2]], tensor)
        elif old in TOP:
            weight = GgufWeight(TOP[old], tensor)
        else:
            raise UnsupportedModel(
                f"{path} has the tensor {old[:100]!r}, which is no part of Mistral Small 4."
            )
        if weight.name in weights:
            raise BadModelFile(f"{path} has {weight.name} twice; fetch it again.")
        weights[weight.name] = weight
    return weights
