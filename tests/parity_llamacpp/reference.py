"""The third opinion: transformers in float32 on what the blocks of a GGUF file say.

Names, shapes and configuration are told apart from Ostro's reader. The blocks are dequantised by the `gguf`
package, which Ostro uses as well: a mistake there would show against llama.cpp alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.engine.random_checkpoints import build
from tests.engine.random_gguf import NAMES

TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BACK = {ours: theirs for theirs, ours in NAMES.items()}
Angles = Callable[[Tensor, Mapping[str, Any], int], Tensor]
K_QUANTS = (Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K)
LEGACY = (Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.IQ4_NL, Kind.MXFP4)


class Reference:
    """`config` is the one that the file was written from, not what the file's metadata say."""

    def __init__(self, path: Path, config: Mapping[str, Any]):
        self.model = build(config)
        tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
        floats = {
            name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            for name, tensor in tensors.items()
        }
        self.kinds: dict[str, Kind] = {name: tensor.tensor_type for name, tensor in tensors.items()}
        state, sources = _state(floats)
        self.model.load_state_dict(state, strict=True)
        self._by_storage = {
            parameter.untyped_storage().data_ptr(): self.kinds[sources[name]]
            for name, parameter in self.model.named_parameters()
        }
        self.model.set_experts_implementation("eager")

    def logits(
        self,
        ids: list[int],
        first: int = 0,
        *,
        rounded: bool = False,
        beta: float | None = None,
        angles: Angles | None = None,
    ) -> Tensor:
        """float32 [tokens, vocabulary]. `rounded`: each product takes its input rounded as llama.cpp rounds
        it for weights of that kind. `beta`: of llama-4 scaling, where not the model's. `angles`: of
        `angles.py`, where not transformers' own."""
        places = torch.arange(first, first + len(ids))[None]
        rope, rotary = self.model.config.rope_parameters, self.model.model.rotary_emb
        own = rope["llama_4_scaling_beta"]
        rope["llama_4_scaling_beta"] = own if beta is None else beta
        if angles:
            turned = angles(places[0], rope, self.model.config.qk_rope_head_dim)
            both = torch.cat((turned, turned), dim=-1)[None]
            rotary.forward = lambda *_, **__: (both.cos().float(), both.sin().float())
        try:
            with torch.inference_mode(), _Rounding(self._by_storage) if rounded else nullcontext():
                return self.model(torch.tensor([ids]), position_ids=places, use_cache=False).logits[0].float()
        finally:
            rope["llama_4_scaling_beta"] = own
            rotary.__dict__.pop("forward", None)


class _Rounding(TorchFunctionMode):
    def __init__(self, kinds: dict[int, Kind]):
        super().__init__()
        self._kinds = kinds

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear:
            x, weight, *rest = args
            kind = self._kinds.get(weight.untyped_storage().data_ptr(), Kind.F32)
            args = (as_llama_cpp_rounds(x, kind), weight, *rest)
        return func(*args, **(kwargs or {}))


def as_llama_cpp_rounds(x: Tensor, kind: Kind) -> Tensor:
    """What a product with weights of this kind makes of its other side, float32 [..., columns], before it
    begins (`vec_dot_type` of ggml/src/ggml-cpu/ggml-cpu.c): 16 bits as the weights have them; 8 bits in
    blocks of 32 with a 16-bit scale (Q8_0, Q8_1); 8 bits in blocks of 256 with a 32-bit scale (Q8_K)."""
    if kind == Kind.F16:
        return x.half().float()
    if kind == Kind.BF16:
        return x.bfloat16().float()
    if kind in LEGACY:
        blocks = x.unflatten(-1, (-1, 32))
        scale = (blocks.abs().amax(-1, keepdim=True) / 127).half().float()
    elif kind in K_QUANTS:
        blocks = x.unflatten(-1, (-1, 256))
        scale = blocks.abs().amax(-1, keepdim=True) / 127
    else:
        return x
    return torch.where(scale > 0, (blocks / scale).round().clamp(-127, 127) * scale, 0.0).flatten(-2)


def _state(floats: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict of Mistral4ForCausalLM, and the tensor of the file that each of its entries is (mainly)
    from."""
    state: dict[str, Tensor] = {}
    sources: dict[str, str] = {}

    def put(name: str, value: Tensor, source: str) -> None:
        state[name], sources[name] = value, source

    for name, value in floats.items():
        stem = name.removesuffix(".weight")
        match = re.match(r"blk\.(\d+)\.(.+)", stem)
        if not match:
            put(f"{TOP[stem]}.weight", value, name)
            continue
        layer, part = f"model.layers.{match[1]}.", match[2]
        if part in BACK:
            put(f"{layer}{BACK[part]}.weight", value, name)
        elif part == "attn_k_b":
            up = floats[f"blk.{match[1]}.attn_v_b.weight"]
            both = torch.cat((value.transpose(1, 2), up), dim=1)
            put(f"{layer}self_attn.kv_b_proj.weight", both.flatten(0, 1), name)
        elif part == "ffn_gate_exps":
            up = floats[f"blk.{match[1]}.ffn_up_exps.weight"]
            put(f"{layer}mlp.experts.gate_up_proj", torch.cat((value, up), dim=1), name)
        elif part == "ffn_down_exps":
            put(f"{layer}mlp.experts.down_proj", value, name)
    return state, sources
