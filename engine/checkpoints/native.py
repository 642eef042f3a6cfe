"""Mistral's own layout: params.json, consolidated*.safetensors, one tensor for each matrix of each expert."""

from __future__ import annotations

import re
from pathlib import Path

from engine.checkpoints.folder import read_json
from engine.checkpoints.named import NamedCheckpoint
from engine.checkpoints.native_config import native_config
from engine.checkpoints.quantised_names import join_scales
from engine.checkpoints.safetensors_file import StoredTensor
from engine.checkpoints.shards import open_shards
from engine.checkpoints.views import RowView, rotary_halves
from engine.checkpoints.weight import Weight
from engine.errors import BadModelFile

TEXT_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^output\.", "lm_head."),
        (r"^norm\.", "{model}norm."),
        (r"^tok_embeddings\.", "{model}embed_tokens."),
        (r"^layers\.", "{model}layers."),
        (r"\.attention_norm\.", ".input_layernorm."),
        (r"\.ffn_norm\.", ".post_attention_layernorm."),
        (r"\.attention\.wkv_a_with_mqa\.", ".self_attn.kv_a_proj_with_mqa."),
        (r"\.attention\.wkv_b\.", ".self_attn.kv_b_proj."),
        (r"\.attention\.wq_a\.", ".self_attn.q_a_proj."),
        (r"\.attention\.wq_b\.", ".self_attn.q_b_proj."),
        (r"\.attention\.wo\.", ".self_attn.o_proj."),
        (r"\.attention\.q_a_norm\.", ".self_attn.q_a_layernorm."),
        (r"\.attention\.kv_a_norm\.", ".self_attn.kv_a_layernorm."),
        (r"\.gate\.weight$", ".mlp.gate.weight"),
        (r"\.(shared_experts|experts|feed_forward)\.", r".mlp.\1."),
        (r"\.mlp\.feed_forward\.", ".mlp."),
        (r"(\.mlp\.(?:shared_experts\.)?)w1\.", r"\1gate_proj."),
        (r"(\.mlp\.(?:shared_experts\.)?)w2\.", r"\1down_proj."),
        (r"(\.mlp\.(?:shared_experts\.)?)w3\.", r"\1up_proj."),
    )
)
VISION_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^vision_encoder\.", "model.vision_tower."),
        (r"^vision_language_adapter\.w_in\.", "model.multi_modal_projector.linear_1."),
        (r"^vision_language_adapter\.w_out\.", "model.multi_modal_projector.linear_2."),
        (r"^patch_merger\.", "model.multi_modal_projector.patch_merger."),
        (r"^pre_mm_projector_norm\.", "model.multi_modal_projector.norm."),
        (r"\.attention\.w([qkvo])\.", r".attention.\1_proj."),
        (r"\.feed_forward\.w1\.", ".feed_forward.gate_proj."),
        (r"\.feed_forward\.w2\.", ".feed_forward.down_proj."),
        (r"\.feed_forward\.w3\.", ".feed_forward.up_proj."),
    )
)
VISION = ("vision_encoder.", "vision_language_adapter.", "patch_merger.", "pre_mm_projector_norm.")
ROTARY = re.compile(r"^model\.vision_tower\..*\.attention\.[qk]_proj\.weight$")


def open_native(folder: Path) -> NamedCheckpoint:
    """Raises BadModelFile or UnsupportedModel."""
    config = native_config(folder / "params.json", read_json(folder, "params.json"))
    sees = "vision_config" in config
    tensors, files = open_shards(folder, "consolidated")
    renamed: dict[str, StoredTensor] = {}
    for old, tensor in tensors.items():
        name = canonical(old, "model.language_model." if sees else "model.")
        if name in renamed:
            raise BadModelFile(f"{folder} holds {name} under two names; fetch the model again.")
        renamed[name] = tensor
    weights = join_scales(renamed)
    if sees:
        weights = {name: _turned(weight, name, config) for name, weight in weights.items()}

    def release() -> None:
        for file in files:
            file.release()

    return NamedCheckpoint(folder, "native", config, weights, release)


def canonical(name: str, model: str) -> str:
    """`model` is the prefix that the language model has in the transformers class."""
    for pattern, new in VISION_NAMES if name.startswith(VISION) else TEXT_NAMES:
        name = pattern.sub(new.replace("{model}", model), name)
    return name


def _turned(weight: Weight, name: str, config: dict) -> Weight:
    if not ROTARY.match(name):
        return weight
    heads, rows = config["vision_config"]["num_attention_heads"], weight.shape[0]
    if len(weight.shape) != 2 or rows % (2 * heads):
        raise BadModelFile(
            f"{name} of shape {list(weight.shape)} is not {heads} heads of pairs; fetch it again."
        )
    return RowView(name, weight, rotary_halves(heads, rows), weight.shape)
