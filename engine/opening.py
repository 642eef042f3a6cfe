"""A model that transformers defines, put together from its parts: checkpoint, experts, network, tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints import Checkpoint, open_checkpoint
from engine.errors import ModelNotFound
from engine.experts import ExpertStore, PackedModel, is_packed, profile_path
from engine.gguf_file import GgufFile
from engine.gguf_tokenizer import TOKENIZER_GGUF
from engine.hf_tokenizer import HfTokenizer
from engine.hosted import HostedModel, Precision, SoftmaxScale, activation_of
from engine.network import EndingTokenizer, Opened
from engine.tekken import TekkenTokenizer
from engine.tokenizer import Tokenizer
from engine.vision.grid import ImageGrid

FORMS = {
    "F32": "float32",
    "F16": "bfloat16",
    "BF16": "bfloat16",
    "F8_E4M3": "int8",
    "Q8_0": "int8",
    "Q6_K": "int8",
    "Q5_K": "int8",
}
"""How experts that are not packed are kept in memory, by how they are stored; 4 bits for all others."""


def open_hosted(
    path: Path,
    progress: Callable[[float], None] | None = None,
    *,
    memory: int | None = None,
    precision: Precision | None = None,
    softmax_scale: SoftmaxScale = "stated",
) -> Opened:
    """A folder or a GGUF file of any family that `engine.hosted` knows.

    `memory` bounds what routed experts take, in bytes (what is free, less a reserve, where it is None).
    `precision` is of everything else: int8 on a processor and bfloat16 on a GPU unless named.
    `softmax_scale` concerns Small 4 alone, see `engine.hosted.latent`.
    Raises ModelNotFound, BadModelFile, UnsupportedModel, EngineError.
    """
    checkpoint: Any = PackedModel(path) if path.is_dir() and is_packed(path) else open_checkpoint(path)
    tokenizer = open_tokenizer(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = checkpoint.config
    text = config.get("text_config") or config
    store = None
    if checkpoint.expert_layers():
        store = ExpertStore.open(
            checkpoint,
            budget=memory,
            profile=profile_path(path, config),
            activation=activation_of(text),
            form=None if checkpoint.layout == "packed" else _form(checkpoint),
        )
    network = HostedModel.load(
        checkpoint,
        store,
        precision=precision or ("int8" if device == "cpu" else "bfloat16"),
        device=device,
        softmax_scale=softmax_scale,
        progress=progress,
    )
    return Opened(
        network,
        tokenizer,
        config.get("name") or path.stem,
        config["model_type"],
        _image_grid(config, tokenizer) if network.sees else None,
    )


def open_tokenizer(path: Path) -> EndingTokenizer:
    """The tokenizer beside a model's weights. Raises ModelNotFound, BadModelFile, UnsupportedModel."""
    if path.is_file():
        return Tokenizer(GgufFile(path))
    if (path / "tekken.json").is_file():
        return TekkenTokenizer(path / "tekken.json")
    if (path / "tokenizer.json").is_file():
        return HfTokenizer(path / "tokenizer.json")
    if (path / TOKENIZER_GGUF).is_file():
        return Tokenizer(GgufFile(path / TOKENIZER_GGUF))
    raise ModelNotFound(
        f"{path} has no tokenizer (tekken.json or tokenizer.json); fetch the model's folder whole."
    )


def _form(checkpoint: Checkpoint) -> str:
    """As most of the experts' matrices are stored: mixes like Q4_K_M keep some of them in more bits, those of
    the first layer among them."""
    stored = [checkpoint.expert(layer, 0) for layer in checkpoint.expert_layers()]
    kinds = Counter(weight.kind for expert in stored for weight in (expert.gate, expert.up, expert.down))
    return FORMS.get(kinds.most_common(1)[0][0], "int4")


def _image_grid(config: dict[str, Any], tokenizer: EndingTokenizer) -> ImageGrid:
    """As the tokenizer's file has it, else from the tower's configuration."""
    told = getattr(tokenizer, "image_grid", None)
    if told is not None:
        return told
    tower = config["vision_config"]
    return ImageGrid(tower["patch_size"], tower["image_size"], config.get("spatial_merge_size", 1))
