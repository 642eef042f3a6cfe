"""A transformers model without weights, made ready for them: all that takes memory is tables of angles."""

from __future__ import annotations

import logging
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from engine.errors import BadModelFile
from engine.hosted.cache import Attended, Layout, Recurrent
from engine.hosted.experts import Experts, is_experts, is_router, route_in_float32, take_over
from engine.hosted.families import hosted
from engine.hosted.images import look_in_parts
from engine.hosted.latent import LatentAttention, SoftmaxScale, stated
from engine.hosted.steps import Look

log = logging.getLogger(__name__)

ATTENTION = "ostro"
MOST_LAYERS = 512
"""More than any model has. A config that claims more would be built for hours."""
NOT_THE_MODELS = ("quantization_config", "auto_map", "torch_dtype", "dtype")
"""Keys that say how the file was written: read by engine.checkpoints, and nothing to transformers here."""


def build(config: dict[str, Any], where: Any, device: torch.device) -> Any:
    """The model that `config` (config.json) describes, weights on the meta device, everything else on
    `device`.

    Raises UnsupportedModel for one that cannot be hosted, BadModelFile for a config that makes no model.
    """
    how = hosted(config, where)
    if how.text_only and "text_config" in config:
        config = {**config["text_config"], "tie_word_embeddings": config.get("tie_word_embeddings", False)}
    text = config.get("text_config", config)
    layers = text.get("num_hidden_layers", 1)
    if not isinstance(layers, int) or not 0 < layers <= MOST_LAYERS:
        raise BadModelFile(f"{where}: its config.json claims {layers!r} layers; fetch it again.")
    kind = getattr(transformers, how.class_name, None)
    if kind is None:
        raise BadModelFile(f"The installed transformers has no {how.class_name}; update it (5.24 or newer).")
    told = {key: value for key, value in config.items() if key not in NOT_THE_MODELS}
    try:
        with torch.device("meta"):
            model = kind(kind.config_class.from_dict(told))
    except Exception as error:  # transformers raises whatever its config classes do
        log.error("transformers refused the config of %s", where, exc_info=error)
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadModelFile(f"{where}: transformers makes no model of its config.json ({why}).") from None
    for module in list(model.modules()):
        _compute_buffers(module, device)
    return model.eval()


def text_model(model: Any) -> Any:
    """The decoder: `embed_tokens`, `layers`, `norm` and `rotary_emb`."""
    return getattr(model.model, "language_model", model.model)


def adapt(model: Any, experts: Experts | None, softmax_scale: SoftmaxScale, where: Any) -> None:
    """Put our attention and experts in the place of transformers' own."""
    decoder = text_model(model)
    decoder.config._attn_implementation = ATTENTION
    if hasattr(model.model, "vision_tower"):
        look_in_parts(model.model.vision_tower)
    scale = stated(decoder.config, softmax_scale)
    latent = False
    for n, layer in enumerate(decoder.layers):
        if hasattr(getattr(layer, "self_attn", None), "kv_b_proj"):
            layer.self_attn = LatentAttention(layer.self_attn, scale)
            latent = True
        for module in list(layer.modules()):
            if is_router(module):
                route_in_float32(module)
            if is_experts(module):
                if experts is None:
                    raise BadModelFile(
                        f"{where} has routed experts, but no weights for them; fetch it again."
                    )
                take_over(module, n, experts)
    if latent and scale == "plain":
        # Without `mscale_all_dim`, transformers would scale the angles' sine and cosine in its place.
        decoder.rotary_emb.attention_scaling = 1.0


def layout(model: Any, dtype: torch.dtype, state_dtype: torch.dtype, device: torch.device) -> Layout:
    """What the layers of an adapted model keep of a sequence."""
    kept = tuple(_kept(layer, text_model(model).config) for layer in text_model(model).layers)
    return Layout(kept, dtype, state_dtype, device)


def _kept(layer: Any, config: Any) -> Attended | Recurrent:
    attention = getattr(layer, "self_attn", None)
    if isinstance(attention, LatentAttention):
        return Attended(1, attention.rank + attention.rope, attention.rank, latent=True)
    if attention is not None:
        return Attended(config.num_key_value_heads, attention.head_dim, attention.head_dim)
    delta = layer.linear_attn
    return Recurrent(
        (delta.conv_dim, delta.conv_kernel_size), (delta.num_v_heads, delta.head_k_dim, delta.head_v_dim)
    )


def _compute_buffers(module: nn.Module, device: torch.device) -> None:
    """Tables that are in no checkpoint: the frequencies of rotary embeddings, made anew by their own
    module."""
    if not any(buffer.is_meta for buffer in module.buffers(recurse=False)):
        return
    fresh = type(module)(module.config)  # pyright: ignore[reportCallIssue]
    for name, buffer in fresh.named_buffers(recurse=False):
        setattr(module, name, buffer.to(device))


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    *,
    step: Any,
    scaling: float,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers' attention layers call; keys and values are already where the step put them."""
    return step.attend(module.layer_idx, query, Look(scaling, sliding_window, s_aux)), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attend)
