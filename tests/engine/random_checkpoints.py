"""One small random Mistral Small 4 (with Pixtral), written in every layout that the engine reads.

Each writer returns the truth: what the files hold as float32, by the state-dict names of the transformers
class, computed by the writer's own rounding and not by the code under test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]
VOCABULARY, HIDDEN, INNER, LAYERS, EXPERTS, HEADS = 320, 256, 256, 2, 4, 4
PLAIN, ROTARY, VALUE, LATENT = 16, 16, 32, 32
FP8_MOST, FP4_MOST, FP4_GROUP = 448.0, 6.0, 16
FP4_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def small_config(**text: Any) -> dict[str, Any]:
    """The model's true structure at a small size; the experts' matrices are wide enough for K-quants."""
    return {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "model_type": "mistral3",
        "image_token_index": 10,
        "spatial_merge_size": 2,
        "vision_feature_layer": -1,
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": False,
        "text_config": {
            "model_type": "mistral4", "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
            "intermediate_size": 512,
            "moe_intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS, "n_routed_experts": EXPERTS, "num_experts_per_tok": 2,
            "n_shared_experts": 1, "q_lora_rank": 64, "kv_lora_rank": LATENT, "qk_nope_head_dim": PLAIN,
            "qk_rope_head_dim": ROTARY, "v_head_dim": VALUE, "max_position_embeddings": 1 << 20,
            "rope_parameters": {
                "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 128.0,
                "original_max_position_embeddings": 8192, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
                "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1, "partial_rotary_factor": 0.5,
            },
            **text,
        },
        "vision_config": {
            "model_type": "pixtral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "patch_size": 4, "image_size": 32, "hidden_act": "silu",
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    }  # fmt: skip


def build(config: Mapping[str, Any]) -> Any:
    """The transformers model of a configuration, float32, evaluating.

    A wrapped one has a head of its own, which transformers denies it where the configuration is silent.
    """
    import transformers

    values = {key: value for key, value in config.items() if key not in ("model_type", "quantization_config")}
    if "text_config" in config:
        values.setdefault("tie_word_embeddings", False)
    made = transformers.AutoConfig.for_model(config["model_type"], **values)
    return getattr(transformers, config["architectures"][0])(made).to(torch.float32).eval()


def random_model(config: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
    """Weights of about unit gain, rounded to BF16, so that a BF16 file holds them exactly."""
    torch.manual_seed(seed)
    model = build(config or small_config())
    with torch.no_grad():
        for parameter in model.parameters():
            wide = parameter.shape[-1] if parameter.dim() > 1 else 1
            around = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(torch.randn_like(parameter) * (0.1 if wide == 1 else wide**-0.5) + around)
            parameter.copy_(parameter.bfloat16().float())
    return model


def state_of(model: Any) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def save_shards(folder: Path, stem: str, tensors: Mapping[str, torch.Tensor], count: int = 2) -> None:
    """`count` shards with an index; one file without where `count` is 1."""
    names = sorted(tensors)
    files = [f"{stem}-{n + 1:05}-of-{count:05}.safetensors" for n in range(count)]
    files = [f"{stem}.safetensors"] if count == 1 else files
    where = {name: files[n * count // len(names)] for n, name in enumerate(names)}
    for file in files:
        part = {name: tensors[name].contiguous() for name in names if where[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    if count > 1:
        index = {"metadata": {}, "weight_map": where}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def to_fp8(value: torch.Tensor, scale: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """float8 and the scale (one for the tensor) that it is multiplied with."""
    scale = (value.abs().max() / FP8_MOST).float() if scale is None else scale
    return (value / scale).to(torch.float8_e4m3fn), scale


def from_fp8(value: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return value.float() * scale


def to_nvfp4(value: torch.Tensor) -> tuple[State, torch.Tensor]:
    """The three tensors of `nvfp4-pack-quantized`, and what they mean."""
    groups = value.unflatten(-1, (-1, FP4_GROUP))
    divisor = FP8_MOST * FP4_MOST / value.abs().max()
    scale = (groups.abs().amax(-1) / FP4_MOST * divisor).to(torch.float8_e4m3fn)
    real = scale.float() / divisor
    nearest = (groups.abs() / real[..., None])[..., None].sub(FP4_VALUES).abs().argmin(-1)
    truth = (FP4_VALUES[nearest] * groups.sign() * real[..., None]).flatten(-2)
    codes = (nearest + 8 * (groups < 0)).flatten(-2).to(torch.uint8)
    packed = codes[..., 0::2] | codes[..., 1::2] << 4
    named = {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": divisor.reshape(1)}
    return {**named, "input_global_scale": torch.ones(1)}, truth


def write_hf(
    model: Any, folder: Path, *, fp8: bool = False, old_prefix: bool = False, shards: int = 2
) -> State:
    """config.json and model*.safetensors; `old_prefix` writes `language_model.model.` and its kin.

    As in the published files of wrapped models, config.json does not say whether the head is tied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["architectures"] = [type(model).__name__]
    if "text_config" in config:
        del config["tie_word_embeddings"]
    tensors: State = {}
    truth: State = {}
    for name, value in state_of(model).items():
        if fp8 and _is_fp8(name):
            base = name.removesuffix(".weight") + ("." if name.endswith(".weight") else "_")
            prefix = "weight_" if name.endswith(".weight") else ""
            if value.dim() == 3:
                scale = (value.abs().amax((1, 2), keepdim=True) / FP8_MOST).float()
                quantised = to_fp8(value, scale)[0]
                tensors[f"{base}activation_scale"] = torch.ones(len(value))
            else:
                quantised, scale = to_fp8(value)
                tensors[f"{base}activation_scale"] = torch.ones(())
            tensors[name], tensors[f"{base}{prefix}scale_inv"] = quantised, scale
            truth[name] = from_fp8(quantised, scale)
        else:
            tensors[name], truth[name] = value.bfloat16(), value
    if fp8:
        config["quantization_config"] = {
            "quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None,
            "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
        }  # fmt: skip
    if old_prefix:
        tensors = {_old_name(name): value for name, value in tensors.items()}
    save_shards(folder, "model", tensors, shards)
    (folder / "config.json").write_text(json.dumps(config))
    return truth


def _is_fp8(name: str) -> bool:
    linear = re.search(r"language_model\.layers\..*(_proj|_mqa)(\.weight)?$", name)
    return bool(linear) and "norm" not in name


def _old_name(name: str) -> str:
    name = re.sub(r"^model\.language_model\.", "language_model.model.", name)
    name = re.sub(r"^lm_head\.", "language_model.lm_head.", name)
    return re.sub(r"^model\.(vision_tower|multi_modal_projector)\.", r"\1.", name)


NATIVE = (
    (r"^model\.vision_tower\.", "vision_encoder."),
    (r"^model\.multi_modal_projector\.linear_1\.", "vision_language_adapter.w_in."),
    (r"^model\.multi_modal_projector\.linear_2\.", "vision_language_adapter.w_out."),
    (r"^model\.multi_modal_projector\.patch_merger\.", "patch_merger."),
    (r"^model\.multi_modal_projector\.norm\.", "pre_mm_projector_norm."),
    (r"^lm_head\.", "output."),
    (r"^model\.language_model\.norm\.", "norm."),
    (r"^model\.language_model\.embed_tokens\.", "tok_embeddings."),
    (r"^model\.language_model\.layers\.", "layers."),
    (r"\.attention\.([qkvo])_proj\.", r".attention.w\1."),
    (r"\.input_layernorm\.", ".attention_norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
    (r"\.self_attn\.kv_a_proj_with_mqa\.", ".attention.wkv_a_with_mqa."),
    (r"\.self_attn\.(q_a|q_b|kv_b)_proj\.", r".attention.w\1."),
    (r"\.self_attn\.o_proj\.", ".attention.wo."),
    (r"\.self_attn\.(q_a|kv_a)_layernorm\.", r".attention.\1_norm."),
    (r"\.mlp\.", "."),
    (r"(shared_experts|feed_forward|experts\.\d+)\.gate_proj\.", r"\1.w1."),
    (r"(shared_experts|feed_forward|experts\.\d+)\.down_proj\.", r"\1.w2."),
    (r"(shared_experts|feed_forward|experts\.\d+)\.up_proj\.", r"\1.w3."),
)


def native_name(name: str) -> str:
    for old, new in NATIVE:
        name = re.sub(old, new, name)
    return name


def apart(state: Mapping[str, torch.Tensor]) -> State:
    """Fused expert stacks as one matrix a projection and expert."""
    single: State = {}
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        for n in range(len(value) if stem.endswith(".experts") else 0):
            if kind == "down_proj":
                single[f"{stem}.{n}.down_proj.weight"] = value[n]
            else:
                half = value.shape[1] // 2
                single[f"{stem}.{n}.gate_proj.weight"] = value[n, :half]
                single[f"{stem}.{n}.up_proj.weight"] = value[n, half:]
        if not stem.endswith(".experts"):
            single[name] = value
    return single


def together(state: Mapping[str, torch.Tensor]) -> State:
    """The inverse of `apart`."""
    fused: State = {}
    for name, value in state.items():
        match = re.match(r"(.*\.experts)\.0\.gate_proj\.weight$", name)
        if match:
            stem = match[1]
            count = sum(
                1 for other in state if other.startswith(stem) and other.endswith(".gate_proj.weight")
            )
            pairs = [
                [state[f"{stem}.{n}.{part}_proj.weight"] for part in ("gate", "up")] for n in range(count)
            ]
            fused[f"{stem}.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in pairs])
            downs = [state[f"{stem}.{n}.down_proj.weight"] for n in range(count)]
            fused[f"{stem}.down_proj"] = torch.stack(downs)
        elif not re.search(r"\.experts\.\d+\.", name):
            fused[name] = value
    return fused


def write_native(model: Any, folder: Path, kind: str = "bf16") -> State:
    """params.json and consolidated*.safetensors; `kind` is bf16, fp8 or nvfp4 (of experts alone)."""
    folder.mkdir(parents=True, exist_ok=True)
    vision = model.config.vision_config
    tensors: State = {}
    truth: State = {}
    for name, value in apart(state_of(model)).items():
        native = native_name(name)
        truth[name] = value
        if kind == "fp8" and _is_fp8(name):
            stem = native.removesuffix("weight")
            tensors[native], tensors[f"{stem}qscale_weight"] = to_fp8(value)
            tensors[f"{stem}qscale_act"] = torch.ones(())
            truth[name] = from_fp8(tensors[native], tensors[f"{stem}qscale_weight"])
        elif kind == "nvfp4" and "experts" in name:
            parts, truth[name] = to_nvfp4(value)
            tensors.update({native.removesuffix("weight") + part: tensor for part, tensor in parts.items()})
        elif re.search(r"vision_tower\..*\.[qk]_proj\.weight$", name):
            heads = vision.num_attention_heads
            halves = value.reshape(heads, 2, value.shape[0] // heads // 2, value.shape[1])
            tensors[native] = halves.transpose(1, 2).reshape(value.shape).bfloat16()
        else:
            tensors[native] = value.bfloat16()
    if kind == "fp8":
        tensors["layers.0.attention.k_fake_quantizer.qscale_act"] = torch.ones(())
    save_shards(folder, "consolidated", tensors)
    (folder / "params.json").write_text(json.dumps(_params(model, kind)))
    return together(truth)


def _params(model: Any, kind: str) -> dict[str, Any]:
    text, vision = model.config.text_config, model.config.vision_config
    params = {
        "dim": text.hidden_size, "n_layers": text.num_hidden_layers, "n_heads": text.num_attention_heads,
        "n_kv_heads": text.num_key_value_heads, "head_dim": PLAIN + ROTARY,
        "hidden_dim": text.intermediate_size,
        "vocab_size": text.vocab_size, "norm_eps": text.rms_norm_eps, "tied_embeddings": False,
        "rope_theta": 10_000.0, "q_lora_rank": text.q_lora_rank, "kv_lora_rank": text.kv_lora_rank,
        "qk_rope_head_dim": ROTARY, "qk_nope_head_dim": PLAIN, "v_head_dim": VALUE,
        "moe": {
            "num_experts": text.n_routed_experts, "num_experts_per_tok": text.num_experts_per_tok,
            "expert_hidden_dim": text.moe_intermediate_size, "num_shared_experts": 1,
            "first_k_dense_replace": 0,
            "route_every_n": 1, "routed_scale": 1.0, "num_expert_groups": 1, "num_expert_groups_per_tok": 1,
            "renorm_strategy": "WEIGHTS", "use_load_balancing_bias": False,
        },
        "yarn": {
            "factor": 128, "original_max_position_embeddings": 8192, "beta": 32, "alpha": 1,
            "apply_scale": False,
        },
        "llama_4_scaling": {"beta": 0.1, "original_max_position_embeddings": 8192},
        "vision_encoder": {
            "image_token_id": 10, "image_break_token_id": 12, "image_end_token_id": 13,
            "intermediate_size": vision.intermediate_size, "num_hidden_layers": vision.num_hidden_layers,
            "num_attention_heads": vision.num_attention_heads, "mm_projector_id": "patch_merge",
            "spatial_merge_size": 2, "hidden_size": vision.hidden_size, "num_channels": 3, "image_size": 32,
            "max_image_size": 32, "patch_size": 4, "rope_theta": 10_000.0, "adapter_bias": False,
            "add_pre_mm_projector_layer_norm": True,
        },
    }  # fmt: skip
    if kind == "fp8":
        params["quantization"] = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    return params
