"""Small random models of transformers, and the same weights as a checkpoint and as experts in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from engine.hosted import HostedModel, activation_of
from engine.hosted.build import text_model

VOCABULARY, HIDDEN, LAYERS, EXPERTS, CHOSEN = 160, 64, 3, 8, 4
TRAINED = 8192
"""`original_max_position_embeddings` of yarn: beyond it llama-4 scaling sets in."""
LATENT, ROPE = 32, 16
IMAGE_TOKEN = 10
GPU = "cuda" if torch.cuda.is_available() else None

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 1 << 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
MOE: dict[str, Any] = {
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": EXPERTS,
    "num_experts_per_tok": CHOSEN,
    "moe_intermediate_size": 48,
    "intermediate_size": 96,
    "norm_topk_prob": True,
}
DELTA: dict[str, Any] = {
    **MOE,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "shared_expert_intermediate_size": 48,
}
MISTRAL4: dict[str, Any] = {
    **COMMON,
    "model_type": "mistral4",
    "num_key_value_heads": 4,
    "q_lora_rank": 48,
    "kv_lora_rank": LATENT,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": ROPE,
    "v_head_dim": 24,
    "n_routed_experts": EXPERTS,
    "num_experts_per_tok": CHOSEN,
    "moe_intermediate_size": 48,
    "rope_parameters": {
        "type": "yarn",
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 128.0,
        "original_max_position_embeddings": TRAINED,
        "max_position_embeddings": 1 << 20,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
        "partial_rotary_factor": 0.5,
    },
}
VISION: dict[str, Any] = {
    "model_type": "pixtral",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "patch_size": 4,
    "image_size": 64,
    "num_channels": 3,
}
MISTRAL: dict[str, Any] = {
    **COMMON,
    "model_type": "mistral",
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "sliding_window": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e9},
}


def wrapped(text: dict[str, Any]) -> dict[str, Any]:
    """Mistral3 over a text model, with a Pixtral tower; silent about its head, as published files are."""
    return {
        "model_type": "mistral3",
        "text_config": text,
        "vision_config": VISION,
        "image_token_index": IMAGE_TOKEN,
        "spatial_merge_size": 2,
        "vision_feature_layer": -1,
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu",
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "mistral4": MISTRAL4,
    "mistral3 over mistral4": wrapped(MISTRAL4),
    "mistral3": wrapped(MISTRAL),
    "mistral": {**MISTRAL, "sliding_window": 8},
    "ministral3": {
        **MISTRAL,
        "model_type": "ministral3",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 16.0,
            "original_max_position_embeddings": 16384,
            "llama_4_scaling_beta": 0.1,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        },
    },
    "mixtral": {
        **COMMON,
        "model_type": "mixtral",
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "sliding_window": None,
    },
    "gpt_oss": {
        **COMMON,
        "model_type": "gpt_oss",
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": CHOSEN,
        "intermediate_size": 48,
        "sliding_window": 8,
        "num_hidden_layers": 4,
    },
    "qwen3_moe": {**COMMON, **MOE, "model_type": "qwen3_moe"},
    "qwen3_next": {**COMMON, **DELTA, "model_type": "qwen3_next"},
    "qwen3_5_moe": {
        "model_type": "qwen3_5_moe",
        "text_config": {
            **COMMON,
            **DELTA,
            "model_type": "qwen3_5_moe_text",
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 1, 1],
            },
        },
    },
}


@dataclass
class StateWeight:
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def rows(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop].float()

    def floats(self) -> Tensor:
        return self.tensor.float()


class StateCheckpoint:
    """A transformers model's weights, experts left out, under the names of its state dict."""

    def __init__(self, config: dict[str, Any], model: Any):
        self.path = Path("tiny")
        self.config = config
        self.state: dict[str, Tensor] = {
            name: tensor for name, tensor in model.state_dict().items() if ".experts." not in name
        }
        self.asked: list[str] = []

    def names(self) -> list[str]:
        return list(self.state)

    def weight(self, name: str) -> StateWeight:
        self.asked.append(name)
        return StateWeight(self.state[name])

    def release(self) -> None:
        pass


class ExpertsInMemory:
    """As an expert store answers, of weights that are simply there."""

    def __init__(self, config: dict[str, Any], model: Any, device: str = "cpu"):
        self._activation = activation_of(config.get("text_config", config))
        self.layers: dict[int, tuple[Tensor, ...]] = {}
        self.seen: list[tuple[int, Tensor, Tensor]] = []
        for n, layer in enumerate(text_model(model).layers):
            experts = getattr(layer.mlp, "experts", None)
            if experts is not None:
                self.layers[n] = tuple(each.to(device) for each in _unfused(experts))

    def forward(self, layer: int, hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        self.seen.append((layer, index, weight))
        gate, up, down, gate_bias, up_bias, down_bias = self.layers[layer]
        result = torch.zeros(hidden.shape, device=hidden.device)
        for n in index.unique().tolist():
            token, place = (index == n).nonzero(as_tuple=True)
            x = hidden[token].float()
            inner = self._activation(x @ gate[n].T + gate_bias[n], x @ up[n].T + up_bias[n])
            outer = inner @ down[n].T + down_bias[n]
            result.index_add_(0, token, outer * weight[token, place, None])
        return result.to(hidden.dtype)


def _unfused(experts: Any) -> tuple[Tensor, ...]:
    """Gate and up [E, I, H], down [E, H, I], and their biases."""
    fused, down = experts.gate_up_proj.detach(), experts.down_proj.detach()
    if experts.is_transposed:
        fused, down = fused.transpose(1, 2), down.transpose(1, 2)
    if experts.is_concatenated:
        gate, up = fused.chunk(2, dim=1)
    else:
        gate, up = fused[:, ::2], fused[:, 1::2]
    if not experts.has_bias:
        none = fused.new_zeros(fused.shape[0], 1)
        return gate, up, down, none, none, none
    bias = experts.gate_up_proj_bias.detach()
    return gate, up, down, bias[:, ::2], bias[:, 1::2], experts.down_proj_bias.detach()


def reference(name: str, seed: int = 0, rope: dict[str, float] | None = None) -> Any:
    """A random model of transformers, float32. `rope` goes into its rope parameters."""
    config = CONFIGS[name]
    inner = "text_config" in config
    text = config["text_config"] if inner else config
    if rope:
        text = {**text, "rope_parameters": {**text["rope_parameters"], **rope}}
    if name != "qwen3_5_moe" and inner:
        # A head of its own, which transformers would not give it.
        text = {**config, "text_config": text, "tie_word_embeddings": False}
    torch.manual_seed(seed)
    kind = getattr(transformers, CLASS_NAMES[name])
    model = kind(kind.config_class.from_dict(dict(text))).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" not in key and "A_log" not in key and "dt_bias" not in key:
                parameter.copy_(torch.randn_like(parameter) * max(parameter.shape[-1], 16) ** -0.5)
            elif key.endswith(("weight", "bias")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


CLASS_NAMES = {
    "mistral4": "Mistral4ForCausalLM",
    "mistral3 over mistral4": "Mistral3ForConditionalGeneration",
    "mistral3": "Mistral3ForConditionalGeneration",
    "mistral": "MistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "qwen3_next": "Qwen3NextForCausalLM",
    "qwen3_5_moe": "Qwen3_5MoeForCausalLM",
}

PLAIN = {"mscale_all_dim": 0.0, "attention_factor": 1.0}
"""Of the rope parameters: what makes transformers scale scores by width ** -0.5 alone. `mscale_all_dim` 0 is
not enough: `attention_factor`, left to itself, would then scale the rotated part by 1.485 ** 2 (factor
128)."""


def load(name: str, model: Any, device: str = "cpu", **options: Any) -> HostedModel:
    """The reference's weights, hosted; float32 and the plain scale of scores unless told otherwise."""
    config = CONFIGS[name]
    options = {"precision": "float32", "softmax_scale": "plain", **options}
    experts = ExpertsInMemory(config, model, device)
    return HostedModel.load(
        StateCheckpoint(config, model), experts if experts.layers else None, device=device, **options
    )


def expected(model: Any, ids: list[int], positions: list[int] | None = None, **more: Any) -> Tensor:
    """The reference's logits [T, vocabulary] for a sequence, all at once and without a cache."""
    places = None if positions is None else torch.tensor([positions])
    with torch.inference_mode():
        given = torch.tensor([ids])
        return model(input_ids=given, position_ids=places, use_cache=False, **more).logits[0].float()


def tokens(count: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(11, VOCABULARY, (count,), generator=generator).tolist()
