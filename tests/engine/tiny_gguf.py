"""A small random qwen2 model in a real GGUF file, for tests of everything but quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from engine.tokenizer import _byte_alphabet

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 96, 2, 4, 2, 512
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
CONTROL, NORMAL = 3, 1


def write_tiny_gguf(
    path: Path,
    *,
    architecture: str = "qwen2",
    seed: int = 0,
    special: Sequence[str] = SPECIAL,
    end: str = "<|im_end|>",
) -> Path:
    """Weights in F32, F16, Q8_0 and Q5_0; one token a byte, and one for two spaces."""
    writer = GGUFWriter(path, architecture)
    random = np.random.default_rng(seed)
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    tokens = [*_byte_alphabet(), "ĠĠ"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*tokens, *special])
    writer.add_token_types([NORMAL] * len(tokens) + [CONTROL] * len(special))
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_eos_token_id(len(tokens) + special.index(end))

    def add(name: str, kind: GGMLQuantizationType, *shape: int, around: float = 0.0) -> None:
        values = (around + random.standard_normal(shape) * 0.1).astype(np.float32)
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    f32, f16 = GGMLQuantizationType.F32, GGMLQuantizationType.F16
    q8, q5 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q5_0
    vocabulary = len(tokens) + len(special)
    add("token_embd.weight", q5, vocabulary, HIDDEN)
    add("output.weight", q8, vocabulary, HIDDEN)
    add("output_norm.weight", f32, HIDDEN, around=1.0)
    head = HIDDEN // HEADS
    for n in range(LAYERS):
        for part, rows in (("attn_q", HIDDEN), ("attn_k", KV_HEADS * head), ("attn_v", KV_HEADS * head)):
            add(f"blk.{n}.{part}.weight", q5, rows, HIDDEN)
            add(f"blk.{n}.{part}.bias", f32, rows)
        add(f"blk.{n}.attn_output.weight", f16, HIDDEN, HIDDEN)
        add(f"blk.{n}.ffn_gate.weight", q8, FFN, HIDDEN)
        add(f"blk.{n}.ffn_up.weight", q8, FFN, HIDDEN)
        add(f"blk.{n}.ffn_down.weight", q8, HIDDEN, FFN)
        add(f"blk.{n}.attn_norm.weight", f32, HIDDEN, around=1.0)
        add(f"blk.{n}.ffn_norm.weight", f32, HIDDEN, around=1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
