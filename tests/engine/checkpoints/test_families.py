"""The other families' models, as transformers itself saves them, are read back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints import open_checkpoint
from engine.errors import UnsupportedModel
from tests.engine.checkpoints.reading import load_model
from tests.engine.random_checkpoints import (
    State,
    apart,
    random_model,
    save_shards,
    state_of,
    to_nvfp4,
    together,
)

SMALL = {
    "vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "intermediate_size": 96}
DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "shared_expert_intermediate_size": 32,
}  # fmt: skip
VISION = {
    "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2, "patch_size": 4, "image_size": 16,
}  # fmt: skip
QWEN_VISION = {
    "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4,
    "out_hidden_size": 64,
    "num_position_embeddings": 16,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "MixtralForCausalLM": {**SMALL, "model_type": "mixtral", "num_local_experts": 4, "intermediate_size": 32},
    "Qwen3MoeForCausalLM": {**SMALL, **EXPERTS, "model_type": "qwen3_moe"},
    "Qwen3NextForCausalLM": {**SMALL, **EXPERTS, **DELTA, "model_type": "qwen3_next"},
    "Qwen3_5MoeForCausalLM": {**SMALL, **EXPERTS, **DELTA, "model_type": "qwen3_5_moe_text"},
    "Qwen3_5MoeForConditionalGeneration": {
        "model_type": "qwen3_5_moe",
        "text_config": {**SMALL, **EXPERTS, **DELTA, "model_type": "qwen3_5_moe_text"},
        "vision_config": QWEN_VISION,
    },
    "GptOssForCausalLM": {
        **SMALL, "model_type": "gpt_oss", "num_local_experts": 4, "intermediate_size": 32,
        "sliding_window": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "Mistral3ForConditionalGeneration": {
        "model_type": "mistral3", "text_config": {**SMALL, "model_type": "mistral", "intermediate_size": 96},
        "vision_config": VISION, "tie_word_embeddings": False,
    },
    "MistralForCausalLM": {**SMALL, "model_type": "mistral", "intermediate_size": 96},
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    torch.set_num_threads(2)
    return random_model({"architectures": [request.param], **FAMILIES[request.param]})


def same(loaded: State, expected: State) -> None:
    assert set(loaded) == set(expected)
    for name, value in expected.items():
        assert torch.equal(loaded[name], value), name


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(10, 34).reshape(2, 12)).logits


def test_what_transformers_saves_is_read_back(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size="200kB")
    loaded = load_model(open_checkpoint(tmp_path))

    same(state_of(loaded), state_of(model))
    assert torch.equal(logits(loaded), logits(model))


def test_transformers_own_names_are_read_too(model: Any, tmp_path: Path) -> None:
    model.config.to_json_file(tmp_path / "config.json", use_diff=False)
    save_shards(tmp_path, "model", {name: value.bfloat16() for name, value in state_of(model).items()})

    same(state_of(load_model(open_checkpoint(tmp_path))), state_of(model))


def test_gpt_oss_in_mxfp4(tmp_path: Path) -> None:
    """The packed form against transformers' own decoder of it."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    model = random_model({"architectures": ["GptOssForCausalLM"], **FAMILIES["GptOssForCausalLM"]})
    state, stored = state_of(model), {}
    for name, value in list(state.items()):
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = value.bfloat16()
            continue
        experts, columns, rows = value.shape
        blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), dtype=torch.uint8)
        scales = torch.randint(118, 124, (experts, rows, columns // 32), dtype=torch.uint8)
        stored[f"{name}_blocks"], stored[f"{name}_scales"] = blocks, scales
        state[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    save_shards(tmp_path, "model", stored)
    config = json.loads(model.config.to_json_string(use_diff=False))
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}})
    )
    checkpoint = open_checkpoint(tmp_path)

    same(state_of(load_model(checkpoint)), state)
    up = checkpoint.expert(0, 1).up
    grouped = up.blocks(3, 9)
    assert up.kind == "MXFP4" and grouped is not None and torch.equal(grouped.floats(), up.rows(3, 9))


def test_nvfp4_under_the_hubs_names(tmp_path: Path) -> None:
    """As llm-compressor writes it: experts one by one, the rest in BF16."""
    model = random_model({"architectures": ["Qwen3MoeForCausalLM"], **FAMILIES["Qwen3MoeForCausalLM"]})
    stored: State = {}
    truth: State = {}
    for name, value in apart(state_of(model)).items():
        stored[name], truth[name] = value.bfloat16(), value
        if ".experts." in name:
            parts, truth[name] = to_nvfp4(stored.pop(name).float())
            stored.update({name.removesuffix("weight") + part: tensor for part, tensor in parts.items()})
    save_shards(tmp_path, "model", stored)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(tmp_path)

    assert checkpoint.expert(0, 0).gate.kind == "NVFP4"
    same(state_of(load_model(checkpoint)), together(truth))


def test_fp8_in_blocks_and_by_row(tmp_path: Path) -> None:
    """The grids of Qwen's FP8 files, ragged at the edges, and compressed-tensors' scales of rows."""
    config = {"architectures": ["Qwen3MoeForCausalLM"], **FAMILIES["Qwen3MoeForCausalLM"]}
    quantisation = {"quant_method": "fp8", "weight_block_size": [24, 40]}
    model = random_model(config)
    state, stored = state_of(model), {}
    for name, value in list(state.items()):
        stored[name] = value.bfloat16()
        if name.endswith("q_proj.weight") or name.endswith("o_proj.weight"):
            rows, columns = value.shape
            grid = (rows, 1) if "o_proj" in name else (-(-rows // 24), -(-columns // 40))
            scale = torch.rand(grid) * 0.01 + 0.001
            stored[name] = (value / 0.01).to(torch.float8_e4m3fn)
            stored[name + ("_scale" if "o_proj" in name else "_scale_inv")] = scale
            r, c = torch.arange(rows)[:, None], torch.arange(columns)[None, :]
            wide = scale.expand(rows, columns) if "o_proj" in name else scale[r // 24, c // 40]
            state[name] = stored[name].float() * wide
    save_shards(tmp_path, "model", stored)
    values = json.loads(model.config.to_json_string(use_diff=False))
    (tmp_path / "config.json").write_text(json.dumps({**values, "quantization_config": quantisation}))

    same(state_of(load_model(open_checkpoint(tmp_path))), state)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "llama"}, "family 'llama'; Ostro hosts"),
        ({}, "family 'None'"),
        ({"model_type": "mistral3", "text_config": {"model_type": "llama"}}, "within mistral3"),
        ({"model_type": "mixtral", "quantization_config": {"quant_method": "gptq"}}, "quantised by 'gptq'"),
    ],
)
def test_what_is_not_hosted_is_said(tmp_path: Path, config: dict[str, Any], sentence: str) -> None:
    save_shards(tmp_path, "model", {"x": torch.zeros(1)}, 1)
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(UnsupportedModel, match=sentence):
        open_checkpoint(tmp_path)
