"""The engine is faithful: its distributions against transformers' in float32, on the same weights."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import pytest
import torch

from engine.runtime import Runtime

TOKENS = 2048


@pytest.mark.real_model
def test_top_1_and_kl_on_real_code(small_model: Path) -> None:
    import transformers  # here, as it takes seconds

    runtime = Runtime.load(small_model)
    code = Path(argparse.__file__).read_text() + Path(textwrap.__file__).read_text()
    ids = runtime.tokenizer.encode(code)[:TOKENS]
    assert len(ids) == TOKENS
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        small_model.parent, gguf_file=small_model.name, dtype=torch.float32
    )
    with torch.inference_mode():
        cache = runtime._model.new_cache()
        hidden = torch.cat(
            [runtime._model.prefill(ids[at : at + 256], cache) for at in range(0, TOKENS, 256)]
        )
        expected_hidden = reference.model(torch.tensor([ids])).last_hidden_state[0]
        agreed, divergence = 0, 0.0
        for at in range(0, TOKENS, 128):
            ours = runtime._model.logits(hidden[at : at + 128]).log_softmax(dim=-1)
            theirs = reference.lm_head(expected_hidden[at : at + 128]).log_softmax(dim=-1)
            agreed += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            divergence += float((theirs.exp() * (theirs - ours)).sum())

    assert agreed / TOKENS >= 0.98
    assert divergence / TOKENS <= 0.02
