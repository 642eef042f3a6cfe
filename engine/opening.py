"""A model that transformers defines, put together from its parts: checkpoint, experts, network, tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.checkpoints import open_checkpoint
from engine.errors import ModelNotFound
from engine.experts import ExpertStore, PackedModel, is_packed, profile_path
from engine.gguf_file import GgufFile
from engine.gguf_tokenizer import TOKENIZER_GGUF
from engine.hf_tokenizer import HfTokenizer, chat_template_beside, is_byte_level
from engine.hosted import HostedModel, Precision, SoftmaxScale, activation_of
from engine.hosting import form_of, hosting_of
from engine.network import EndingTokenizer, Opened
from engine.sentencepiece_file import models_in
from engine.spm_tokenizer import SpmTokenizer
from engine.tekken import TekkenTokenizer
from engine.tokenizer import Tokenizer
from engine.vision.grid import ImageGrid


def open_hosted(
    path: Path,
    progress: Callable[[float], None] | None = None,
    *,
    memory: int | None = None,
    precision: Precision | None = None,
    softmax_scale: SoftmaxScale = "stated",
) -> Opened:
    """A folder or a GGUF file of any family that `engine.hosted` knows.

    `memory` is what the model may take, in bytes, divided by `engine.memory_plan`; what is free, less a
    reserve, where it is None. `precision` is of everything but the routed experts: int8 on a processor and
    bfloat16 on a GPU unless named. `softmax_scale` concerns Small 4 alone, see `engine.hosted.latent`.
    Raises ModelNotFound, BadModelFile, UnsupportedModel, EngineError.
    """
    checkpoint = open_any(path)
    tokenizer = open_tokenizer(path)
    config = checkpoint.config
    text = config.get("text_config") or config
    hosting = hosting_of(checkpoint, memory, precision)
    plan = hosting.plan()
    store = None
    if checkpoint.expert_layers():
        store = ExpertStore.open(
            checkpoint,
            budget=plan.experts,
            device=hosting.device if plan.device_experts else None,
            device_budget=plan.device_experts,
            profile=profile_path(path, config),
            activation=activation_of(text),
            form=form_of(checkpoint),
        )
    network = HostedModel.load(
        checkpoint,
        store,
        precision=hosting.precision,
        device=hosting.device,
        softmax_scale=softmax_scale,
        progress=progress,
    )
    return Opened(
        network,
        tokenizer,
        config.get("name") or path.stem,
        config["model_type"],
        _image_grid(config, tokenizer) if network.sees else None,
        plan.cache,
        plan.chunk,
    )


def open_any(path: Path) -> Any:
    """A checkpoint of any layout, the packed one as well; nothing but headers is read.

    Raises ModelNotFound, BadModelFile or UnsupportedModel.
    """
    return PackedModel(path) if path.is_dir() and is_packed(path) else open_checkpoint(path)


def open_tokenizer(path: Path) -> EndingTokenizer:
    """The tokenizer beside a model's weights. Raises ModelNotFound, BadModelFile, UnsupportedModel."""
    if path.is_file():
        return Tokenizer(GgufFile(path))
    if (path / "tekken.json").is_file():
        return TekkenTokenizer(path / "tekken.json")
    if (path / "tokenizer.json").is_file() and is_byte_level(path / "tokenizer.json"):
        return HfTokenizer(path / "tokenizer.json")
    if (path / TOKENIZER_GGUF).is_file():
        return Tokenizer(GgufFile(path / TOKENIZER_GGUF))
    if models := models_in(path):
        return SpmTokenizer(models[-1], chat_template_beside(path))
    if (path / "tokenizer.json").is_file():
        return HfTokenizer(path / "tokenizer.json")  # which says why it is not supported
    raise ModelNotFound(
        f"{path} has no tokenizer (tekken.json, tokenizer.json or tokenizer.model); fetch the model's folder "
        "whole."
    )


def _image_grid(config: dict[str, Any], tokenizer: EndingTokenizer) -> ImageGrid:
    """As the tokenizer's file has it, else from the tower's configuration."""
    told = getattr(tokenizer, "image_grid", None)
    if told is not None:
        return told
    tower = config["vision_config"]
    return ImageGrid(tower["patch_size"], tower["image_size"], config.get("spatial_merge_size", 1))
