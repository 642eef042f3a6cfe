"""The layout of the hub: config.json, model*.safetensors, names as transformers' classes have or had them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine.checkpoints.folder import has_file, read_json
from engine.checkpoints.named import NamedCheckpoint, text_config
from engine.checkpoints.native_config import Params
from engine.checkpoints.quantised_names import join_scales
from engine.checkpoints.safetensors_file import StoredTensor
from engine.checkpoints.shards import open_shards
from engine.errors import BadModelFile, UnsupportedModel

FAMILIES = (
    "gpt_oss", "ministral3", "mistral", "mistral3", "mistral4", "mixtral", "qwen3_5_moe", "qwen3_5_moe_text",
    "qwen3_moe", "qwen3_next",
)  # fmt: skip
INSIDE_MISTRAL3 = ("ministral3", "mistral", "mistral4")
QUANTISATIONS = ("fp8", "mxfp4", "compressed-tensors")

OLD_NAMES = (
    (re.compile(r"^language_model\.model\."), "model.language_model."),
    (re.compile(r"^(?:model\.)?language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^(vision_tower|multi_modal_projector)\."), r"model.\1."),
    (re.compile(r"\.block_sparse_moe\."), ".mlp."),
)
"""Names that older files have, and today's classes call them (transformers' conversion_mapping.py)."""
NOT_WANTED = re.compile(r"^mtp\.|\.rotary_emb\.inv_freq$")
"""Heads that guess several tokens at once, and what follows from the configuration."""


def open_hf(folder: Path) -> NamedCheckpoint:
    """Raises BadModelFile or UnsupportedModel."""
    config = read_json(folder, "config.json")
    _check_family(folder, config)
    block = _check_quantisation(folder, config)
    _take_apply_scale(folder, text_config(config))
    tensors, files = open_shards(folder, "model")
    renamed: dict[str, StoredTensor] = {}
    for old, tensor in tensors.items():
        name = canonical(old, config["model_type"])
        if NOT_WANTED.search(name):
            continue
        if name in renamed:
            raise BadModelFile(f"{folder} holds {name} under two names; fetch the model again.")
        renamed[name] = tensor

    def release() -> None:
        for file in files:
            file.release()

    return NamedCheckpoint(folder, "hf", config, join_scales(renamed, block), release)


def canonical(name: str, model_type: str) -> str:
    for pattern, new in OLD_NAMES:
        name = pattern.sub(new, name)
    if model_type == "qwen3_5_moe_text":
        name = name.replace("model.language_model.", "model.")
    return name


def _check_family(folder: Path, config: dict[str, Any]) -> None:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedModel(
            f"{folder} is a model of the family {str(family)[:60]!r}; Ostro hosts {', '.join(FAMILIES)}."
        )
    text = text_config(config)
    if family == "mistral3" and text.get("model_type", "mistral") not in INSIDE_MISTRAL3:
        raise UnsupportedModel(
            f"{folder} has a language model of the family {str(text.get('model_type'))[:60]!r} within "
            f"mistral3; Ostro hosts {', '.join(INSIDE_MISTRAL3)} there."
        )


def _take_apply_scale(folder: Path, text: dict[str, Any]) -> None:
    """config.json has no word for `yarn.apply_scale`; Mistral's own params.json has, and lies beside it where
    a repository holds both layouts."""
    if text.get("model_type") != "mistral4" or "yarn_apply_scale" in text:
        return
    if not has_file(folder, "params.json"):
        return
    params = Params(folder / "params.json", read_json(folder, "params.json"))
    if "yarn" in params:
        text["yarn_apply_scale"] = params.part("yarn").flag("apply_scale", True)


def _check_quantisation(folder: Path, config: dict[str, Any]) -> tuple[int, int] | None:
    """The size of the blocks that share a scale, where the quantisation has such."""
    quantisation = config.get("quantization_config") or text_config(config).get("quantization_config")
    if quantisation is None:
        return None
    if not isinstance(quantisation, dict):
        raise BadModelFile(f"{folder / 'config.json'}: quantization_config is not an object; fetch it again.")
    method = quantisation.get("quant_method")
    if method not in QUANTISATIONS:
        raise UnsupportedModel(
            f"{folder} is quantised by {str(method)[:60]!r}, which Ostro does not read; use the BF16, FP8, "
            "NVFP4 or GGUF files of this model."
        )
    block = quantisation.get("weight_block_size")
    if block is None:
        return None
    if not (isinstance(block, list) and len(block) == 2 and all(type(n) is int and n > 0 for n in block)):
        raise BadModelFile(f"{folder / 'config.json'}: weight_block_size is not two numbers; fetch it again.")
    return block[0], block[1]
