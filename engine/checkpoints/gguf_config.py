"""The metadata of a GGUF file of architecture mistral4 as transformers' Mistral4Config says the same.

The keys are those that llama.cpp's converter writes (conversion/mistral3.py and deepseek.py there).
"""

from __future__ import annotations

from typing import Any

from engine.errors import BadModelFile, UnsupportedModel
from engine.gguf_file import GgufFile

LARGEST = 1 << 31
YARN_LOG_SCALE = 0.1
"""llama.cpp writes `yarn_log_multiplier` as a tenth of mscale_all_dim."""
LLAMA_4_BETA = 0.1
"""Converters that start from transformers' files leave the temperature out; this is the model's."""
SOFTMAX = 1
"""`expert_gating_func`; 0 is not set."""


class _Metadata:
    def __init__(self, file: GgufFile):
        self._file = file

    def _value(self, key: str, default: Any) -> Any:
        return (
            self._file.value(key) if default is None else self._file.metadata.get(f"mistral4.{key}", default)
        )

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._value(key, default)
        if type(value) is not int or not 0 <= value < LARGEST:
            raise self._wrong(key, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if type(value) not in (int, float) or not 0 <= value < LARGEST:
            raise self._wrong(key, "a number of a sensible size")
        return round(float(value), 9)  # 0.1 and 1e-6 as they were before they became 32-bit floats

    def token(self, key: str, default: int) -> int:
        value = self._file.metadata.get(f"tokenizer.ggml.{key}", default)
        return value if type(value) is int and 0 <= value < LARGEST else default

    def _wrong(self, key: str, kind: str) -> BadModelFile:
        return BadModelFile(f"{self._file.path}: the metadata mistral4.{key} is not {kind}; fetch it again.")


def gguf_config(file: GgufFile, vocabulary: int, tied: bool) -> dict[str, Any]:
    """`vocabulary`: rows of the embedding; `tied`: whether the head is the embedding."""
    said = _Metadata(file)
    rotary, head = said.whole("rope.dimension_count"), said.whole("attention.key_length_mla")
    if not 0 < rotary <= head:
        raise BadModelFile(f"{file.path}: {rotary} of {head} values of a head are rotated; fetch it again.")
    if said.whole("expert_gating_func", SOFTMAX) not in (0, SOFTMAX):
        raise UnsupportedModel(
            f"{file.path} routes by something other than softmax; Mistral Small 4 does not."
        )
    return {
        "architectures": ["Mistral4ForCausalLM"],
        "model_type": "mistral4",
        "hidden_size": said.whole("embedding_length"),
        "num_hidden_layers": said.whole("block_count"),
        "intermediate_size": said.whole("feed_forward_length"),
        "num_attention_heads": said.whole("attention.head_count"),
        # GGUF says 1, for the absorbed form; the model itself has a key for each head.
        "num_key_value_heads": said.whole("attention.head_count"),
        "rms_norm_eps": said.number("attention.layer_norm_rms_epsilon"),
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": said.whole("context_length"),
        "hidden_act": "silu",
        "bos_token_id": said.token("bos_token_id", 1),
        "eos_token_id": said.token("eos_token_id", 2),
        "pad_token_id": said.token("padding_token_id", 11),
        "q_lora_rank": said.whole("attention.q_lora_rank"),
        "kv_lora_rank": said.whole("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotary,
        "qk_nope_head_dim": head - rotary,
        "v_head_dim": said.whole("attention.value_length_mla"),
        "n_routed_experts": said.whole("expert_count"),
        "num_experts_per_tok": said.whole("expert_used_count"),
        "first_k_dense_replace": said.whole("leading_dense_block_count", 0),
        "n_shared_experts": said.whole("expert_shared_count", 1),
        "moe_intermediate_size": said.whole("expert_feed_forward_length"),
        "routed_scaling_factor": said.number("expert_weights_scale", 1.0) or 1.0,
        "n_group": said.whole("expert_group_count", 1) or 1,
        "topk_group": said.whole("expert_group_used_count", 1) or 1,
        "norm_topk_prob": bool(file.metadata.get("mistral4.expert_weights_norm", True)),
        "rope_interleave": True,
        "rope_parameters": _rope(file, said, rotary / head),
    }


def _rope(file: GgufFile, said: _Metadata, partial: float) -> dict[str, Any]:
    kind = file.metadata.get("mistral4.rope.scaling.type")
    if kind != "yarn":
        raise UnsupportedModel(f"{file.path} scales its positions by {str(kind)[:40]!r}, not by yarn.")
    scale = said.number("rope.scaling.yarn_log_multiplier", YARN_LOG_SCALE) / YARN_LOG_SCALE
    return {
        "rope_type": "yarn",
        "rope_theta": said.number("rope.freq_base", 10_000.0),
        "factor": said.number("rope.scaling.factor"),
        "original_max_position_embeddings": said.whole("rope.scaling.original_context_length"),
        "beta_fast": said.number("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": said.number("rope.scaling.yarn_beta_slow", 1.0),
        "mscale": 1.0,
        "mscale_all_dim": round(scale, 6) or 1.0,
        "llama_4_scaling_beta": said.number("attention.temperature_scale", LLAMA_4_BETA),
        "partial_rotary_factor": partial,
    }
