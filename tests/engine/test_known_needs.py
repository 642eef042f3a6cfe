"""What is said of models that are not here is what the engine would say of their files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.experts import bytes_for, convert, packed_bytes_for
from engine.gguf_file import GgufFile
from engine.hosted.weights import held_bytes
from engine.known_configs import QWEN2, SMALL_4
from engine.known_needs import known_needs
from engine.qwen2_needs import qwen2_needs
from tests.engine import random_checkpoints as random
from tests.engine.experts.random_source import RandomSource


def test_small_4_has_what_is_kept_in_floats_and_the_scales_of_its_rows() -> None:
    with torch.device("meta"):
        model = random.build(SMALL_4)
    found = known_needs()["mistral-small-4 int4"]
    assert found.weights == held_bytes(model, "int8", tied=False)
    assert (found.token_bytes, found.context) == (23_040, 262_144)


@pytest.mark.parametrize("form", ["int4", "int8"])
def test_packed_experts_that_are_not_here(form: str, tmp_path: Path) -> None:
    source = RandomSource(tmp_path, hidden=256, intermediate=64)
    packed = convert(source, tmp_path / "packed", form=form)
    layers, experts = len(source.expert_layers()), source.expert_count()
    assert packed_bytes_for(form, 256, 64, layers, experts) == bytes_for(packed)


@pytest.mark.real_model
def test_the_default_model(default_model: Path) -> None:
    assert known_needs()["qwen2.5-coder-1.5b int8"] == qwen2_needs(GgufFile(default_model))


def test_the_catalogue_s_models() -> None:
    needs = known_needs()
    # 16 bits of keys and values: see docs/engine.md.
    tokens = {name: needs[f"{name} int8"].token_bytes for name in QWEN2}
    assert tokens == {"qwen2.5-coder-1.5b": 28_672, "qwen2.5-coder-0.5b": 12_288}
    assert needs["qwen2.5-coder-1.5b int8"].weights == 1_543_569_408
