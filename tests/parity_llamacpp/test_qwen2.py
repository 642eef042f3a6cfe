"""The embedded model in the official file: Ostro as it is run against llama.cpp as it is run."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch

from engine.runtime import Runtime
from tests.parity_llamacpp import peer
from tests.parity_llamacpp.differences import Difference, Table

pytestmark = [pytest.mark.llama_cpp, pytest.mark.real_model]

TOKENS = 512


def test_the_small_model_on_code(small_model: Path, table: Table) -> None:
    """Both round activations to 8 bits or so, each in its way; `test_parity.py` holds Ostro against
    float32."""
    text = Path(textwrap.__file__).read_text()
    runtime = Runtime.load(small_model)
    ids = runtime.tokenizer.encode(text)
    assert peer.tokens(small_model, [text]) == [ids]
    ids = ids[:TOKENS]
    fed = [ids[:256], ids[256:-4], *([token] for token in ids[-4:])]
    model = runtime._model
    with torch.inference_mode():
        cache = model.new_cache()
        ours = model.logits(torch.cat([model.prefill(part, cache) for part in fed]))
    theirs = peer.logits(small_model, fed)
    table.add("Qwen2.5-Coder 0.5B Q4_K_M", "Ostro, llama.cpp", seen := Difference.of(ours, theirs))

    assert seen.same_top >= 0.95
    assert seen.divergence <= 0.01
