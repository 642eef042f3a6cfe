"""What a model's files say of it: true figures for every layout, without a single weight being read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType

from engine.anatomy import anatomy
from engine.checkpoints import open_checkpoint
from engine.describing import described
from engine.errors import BadModelFile
from engine.experts import convert
from engine.hosted import needs_of
from engine.hosting import needs_of_checkpoint
from engine.known_configs import SMALL_4
from engine.memory_plan import LEAST_CONTEXT
from engine.model import CACHE_BUDGET
from engine.opening import open_any
from tests.engine import random_checkpoints as random
from tests.engine.random_gguf import write_gguf
from tests.engine.tiny_gguf import CONTEXT

Write = Callable[[Any, Path], object]


@pytest.fixture(scope="module")
def model() -> Any:
    return random.random_model()


def packed(model: Any, folder: Path) -> None:
    random.write_hf(model, folder / "source")
    convert(open_checkpoint(folder / "source"), folder / "packed", form="int8")
    for file in (folder / "packed").iterdir():
        file.rename(folder / file.name)


def in_8_bits(name: str) -> GGMLQuantizationType:
    return GGMLQuantizationType.Q8_0


LAYOUTS: dict[str, Write] = {
    "hf": random.write_hf,
    "hf in FP8": lambda model, folder: random.write_hf(model, folder, fp8=True),
    "native": random.write_native,
    "native in NVFP4": lambda model, folder: random.write_native(model, folder, "nvfp4"),
    "packed": packed,
    "gguf": lambda model, folder: write_gguf(model, folder / "model.gguf", in_8_bits),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_parts_of_its_configuration(layout: str, model: Any, tmp_path: Path) -> None:
    LAYOUTS[layout](model, tmp_path)
    place = tmp_path / "model.gguf" if layout == "gguf" else tmp_path
    told = described(place)
    config = random.small_config()
    whole = anatomy(config if layout != "gguf" else config["text_config"])

    assert told["format"] == layout.split()[0]
    assert {name: part["parameters"] for name, part in told["parts"].items()} == {
        part.name: part.parameters for part in whole.parts
    }
    assert (told["parameters"], told["active_parameters"]) == (whole.parameters, whole.active)
    assert (told["layers"], told["experts"], told["experts_a_token"]) == (2, 4, 2)
    assert told["cache_token_bytes"] == 2 * whole.cache_values
    assert told["bytes"] == sum(part["bytes"] for part in told["parts"].values())
    stored = sum(file.stat().st_size for file in files_of(place))
    assert 0 <= stored - told["bytes"] < 64_000  # headers, and scales of activations


def files_of(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [*place.glob("*.safetensors"), *place.glob("experts-*.bin")]


@pytest.mark.parametrize("layout", ["hf", "native", "packed"])
def test_no_weight_is_read(layout: str, model: Any, tmp_path: Path) -> None:
    """They are made numbers that are not finite, and records that contradict their checksums."""
    LAYOUTS[layout](model, tmp_path)
    told = described(tmp_path, 10**9)
    for file in files_of(tmp_path):
        data = bytearray(file.read_bytes())
        header = 8 + int.from_bytes(data[:8], "little") if file.suffix == ".safetensors" else 0
        data[header:] = b"\xff" * (len(data) - header)
        file.write_bytes(data)
    assert described(tmp_path, 10**9) == told
    with pytest.raises(BadModelFile):
        open_any(tmp_path).weight("lm_head.weight").rows(0, 1)


def test_small_4_at_its_true_size(tmp_path: Path) -> None:
    """239 GB of weights that are a hole in a file: what is told of them comes from headers."""
    with torch.device("meta"):
        state = random.build(SMALL_4).state_dict()
    (tmp_path / "config.json").write_text(json.dumps(SMALL_4))
    names = sorted(state)
    for n in range(0, len(names), 200):
        write_hole(tmp_path / f"model-{n // 200 + 1:05}-of-{-(-len(names) // 200):05}.safetensors",
                   {name: state[name] for name in names[n : n + 200]})  # fmt: skip
    told = described(tmp_path, 16 * 10**9)

    assert told["parameters"] == anatomy(SMALL_4).parameters
    assert told["bytes"] == 2 * told["parameters"]
    assert 6.0e9 < told["active_parameters"] < 6.5e9
    assert told["parts"]["routed experts"]["parameters"] == 36 * 128 * 3 * 4096 * 2048
    assert told["cache_token_bytes"] == 23_040
    assert 100_000 < told["context_in_memory"] < told["context"] == 262_144
    assert 0.01 < told["experts_in_memory"] < 0.2
    # In 8 bits, with scales: the embedding and the head are 537 MB each.
    assert 4_950 * 10**6 < needs_of_checkpoint(open_any(tmp_path), "int8").weights < 4_960 * 10**6
    assert (
        needs_of_checkpoint(open_any(tmp_path), "int8").weights
        == needs_of(SMALL_4, tmp_path, precision="int8").weights
    )
    small = described(tmp_path, 8 * 10**9)
    assert LEAST_CONTEXT <= small["context_in_memory"] < told["context_in_memory"]
    assert described(tmp_path, told["memory_needed"] - 1)["context_in_memory"] == 0
    assert described(tmp_path, told["memory_needed"])["context_in_memory"] >= LEAST_CONTEXT


def write_hole(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A safetensors file in BF16 without any data written to it."""
    header, at = {}, 0
    for name, tensor in state.items():
        size = 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


def test_a_qwen2_file_keeps_its_own_bound(tiny_model: Path) -> None:
    told = described(tiny_model)
    assert told["context"] == told["context_in_memory"] == CONTEXT
    assert told["parts"]["attention"]["active"] == told["parts"]["attention"]["parameters"]
    assert "routed experts" not in told["parts"] and CONTEXT * told["cache_token_bytes"] < CACHE_BUDGET
    assert told["active_parameters"] == told["parameters"] - told["parts"]["embedding"]["parameters"] + 64


@pytest.mark.real_model
def test_the_default_model(default_model: Path) -> None:
    told = described(default_model)
    assert (told["context"], told["context_in_memory"]) == (32_768, 18_432)
