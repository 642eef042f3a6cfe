"""Mistral's params.json as transformers' config.json says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import BadModelFile, UnsupportedModel

LARGEST = 1 << 31
BOS, EOS, PAD, IMAGE = 1, 2, 11, 10
"""Control tokens of every tekken vocabulary since v3."""
CONTEXT = 1_048_576
"""Where params.json is silent: what transformers' converter writes for Mistral Small 4."""


class Params:
    """params.json, or an object in it, each value checked when it is read."""

    def __init__(self, file: Path, values: Any, within: str = ""):
        if not isinstance(values, dict):
            raise BadModelFile(f"{file} has no object {within or 'at its top'}; fetch it again.")
        self.file, self._values, self._within = file, values, within

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def part(self, key: str) -> Params:
        return Params(self.file, self._values.get(key), f"{self._within}.{key}".lstrip("."))

    def whole(self, key: str, default: int | None = None) -> int:
        value: Any = self._values.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 <= value < LARGEST:
            raise self._wrong(key, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value: Any = self._values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LARGEST:
            raise self._wrong(key, "a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._values.get(key)
        if value is None:
            return default
        if type(value) is not bool:
            raise self._wrong(key, "true or false")
        return value

    def _wrong(self, key: str, kind: str) -> BadModelFile:
        name = f"{self._within}.{key}".lstrip(".")
        return BadModelFile(f"{self.file}: {name} is not {kind}; fetch it again.")


def native_config(file: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The configuration of Mistral3ForConditionalGeneration, or of Mistral4ForCausalLM where it sees nothing.

    As transformers' convert_mistral4_weight_to_hf.py. `yarn.apply_scale` has no equal there; it is kept as
    `yarn_apply_scale` of the text configuration, for who chooses the softmax scale. Where it is missing it is
    true, as in vLLM (`_remap_mistral_yarn_args`).
    """
    params = Params(file, values)
    if "moe" not in params or "kv_lora_rank" not in params:
        raise UnsupportedModel(
            f"{file.parent} is not Mistral Small 4; of Mistral's own layout Ostro reads that model alone, "
            "of the others the layout with config.json."
        )
    text = _text(params)
    if "vision_encoder" not in params:
        return {"architectures": ["Mistral4ForCausalLM"], **text}
    vision = params.part("vision_encoder")
    return {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "model_type": "mistral3",
        "text_config": text,
        "vision_config": _vision(vision),
        "image_token_index": vision.whole("image_token_id", IMAGE),
        "spatial_merge_size": vision.whole("spatial_merge_size", 2),
        "multimodal_projector_bias": vision.flag("adapter_bias", False),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "tie_word_embeddings": text["tie_word_embeddings"],
    }


def _text(params: Params) -> dict[str, Any]:
    moe = params.part("moe")
    rotary, plain = params.whole("qk_rope_head_dim", 64), params.whole("qk_nope_head_dim", 64)
    if not rotary + plain:
        raise BadModelFile(f"{params.file}: the heads have no values; fetch it again.")
    return {
        "model_type": "mistral4",
        "hidden_size": params.whole("dim"),
        "num_hidden_layers": params.whole("n_layers"),
        "intermediate_size": params.whole("hidden_dim"),
        "num_attention_heads": params.whole("n_heads"),
        "num_key_value_heads": params.whole("n_kv_heads"),
        "rms_norm_eps": params.number("norm_eps"),
        "vocab_size": params.whole("vocab_size"),
        "tie_word_embeddings": params.flag("tied_embeddings", False),
        "max_position_embeddings": params.whole(
            "max_position_embeddings", params.whole("max_seq_len", CONTEXT)
        ),
        "hidden_act": "silu",
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "q_lora_rank": params.whole("q_lora_rank"),
        "kv_lora_rank": params.whole("kv_lora_rank"),
        "qk_rope_head_dim": rotary,
        "qk_nope_head_dim": plain,
        "v_head_dim": params.whole("v_head_dim", 128),
        "n_routed_experts": moe.whole("num_experts"),
        "num_experts_per_tok": moe.whole("num_experts_per_tok"),
        "first_k_dense_replace": moe.whole("first_k_dense_replace", 0),
        "n_shared_experts": moe.whole("num_shared_experts", 1),
        "moe_intermediate_size": moe.whole("expert_hidden_dim"),
        "routed_scaling_factor": moe.number("routed_scale", 1.0),
        "n_group": moe.whole("num_expert_groups", 1),
        "topk_group": moe.whole("num_expert_groups_per_tok", 1),
        "norm_topk_prob": True,
        "rope_interleave": True,
        "rope_parameters": _rope(params, rotary / (rotary + plain)),
        "yarn_apply_scale": params.part("yarn").flag("apply_scale", True),
    }


def _rope(params: Params, partial: float) -> dict[str, Any]:
    yarn = params.part("yarn")
    scaling = params.part("llama_4_scaling") if "llama_4_scaling" in params else None
    return {
        "rope_type": "yarn",
        "rope_theta": params.number("rope_theta", 10_000.0),
        "factor": yarn.number("factor"),
        "original_max_position_embeddings": yarn.whole("original_max_position_embeddings"),
        "beta_fast": yarn.number("beta"),
        "beta_slow": yarn.number("alpha"),
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": scaling.number("beta", 0.1) if scaling else 0.1,
        "partial_rotary_factor": partial,
    }


def _vision(vision: Params) -> dict[str, Any]:
    heads, hidden = vision.whole("num_attention_heads"), vision.whole("hidden_size")
    if not heads or hidden % heads:
        raise BadModelFile(f"{vision.file}: the vision encoder's heads do not fit its size; fetch it again.")
    return {
        "model_type": "pixtral",
        "hidden_size": hidden,
        "intermediate_size": vision.whole("intermediate_size"),
        "num_hidden_layers": vision.whole("num_hidden_layers"),
        "num_attention_heads": heads,
        "head_dim": hidden // heads,
        "num_channels": vision.whole("num_channels", 3),
        "image_size": vision.whole("image_size"),
        "patch_size": vision.whole("patch_size"),
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": vision.number("rope_theta", 10_000.0)},
    }
