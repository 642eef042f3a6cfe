"""Multi-head latent attention (MLA), with what expands the latents absorbed into queries and outputs.

transformers' `Mistral4Attention` keeps a latent of 256 values and a rotated key of 64 for each token, as
here, but expands all of them to 32 heads in every step. Since k = W_k c and v = W_v c for a latent c, the
score q . k is (W_k^T q) . c, and the weighted sum of values is W_v times the weighted sum of latents:
attention runs over the latents themselves, one row a token for all heads, and nothing is ever expanded
("DeepSeek-V2", 2024, arXiv:2405.04434, section 2.1.2). A score then costs kv_lora_rank + rope products rather
than nope + rope, so where many tokens look at the same latents (a long prefill) expanding a block of them
once is cheaper.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.models.mistral4.modeling_mistral4 import (
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_interleave,
    get_llama_4_attn_scale,
)

from engine.hosted.steps import Look, Step

SoftmaxScale = Literal["stated", "plain", "yarn"]
"""What scores are multiplied with. "plain": width ** -0.5, as vLLM and SGLang have it for Small 4. "yarn":
that times (0.1 * mscale_all_dim * ln(factor) + 1) ** 2, as llama.cpp and transformers 5.24 have it. "stated":
as the checkpoint says (`yarn.apply_scale` of params.json), plain where it is silent. See docs/engine.md."""
EXPAND_FROM = 192
"""Tokens in a step from which expanding blocks of latents is cheaper. By products, at the size of Small 4:
576 a pair and head over latents, 256 over what was expanded, and 49,152 to expand a latent for a head, so 154
tokens; measured on two cores (2,048 and 16,384 tokens before), it changes sides between 128 and 256."""


class LatentAttention(nn.Module):
    """In the place of a layer's `self_attn`, made of its parts, with the same names."""

    def __init__(self, original: Any, softmax_scale: Literal["plain", "yarn"]):
        super().__init__()
        self.layer = int(original.layer_idx)
        self.heads = int(original.num_heads)
        self.nope, self.rope = int(original.qk_nope_head_dim), int(original.qk_rope_head_dim)
        self.rank, self.value_width = int(original.kv_lora_rank), int(original.v_head_dim)
        self.q_proj, self.q_a_proj = original.q_proj, original.q_a_proj
        self.q_a_layernorm, self.q_b_proj = original.q_a_layernorm, original.q_b_proj
        self.kv_a_proj_with_mqa = original.kv_a_proj_with_mqa
        self.kv_a_layernorm = original.kv_a_layernorm
        self.kv_b_proj = original.kv_b_proj
        self.o_proj = original.o_proj
        rope = original.config.rope_parameters
        self._interleaved = bool(original.config.rope_interleave)
        self._beta: float = rope.get("llama_4_scaling_beta") or 0.0
        self._trained: int = rope.get("original_max_position_embeddings") or 1
        self.scale = softmax_scale_of(rope, self.nope + self.rope, softmax_scale)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        position_ids: Tensor,
        cache: Step,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """[batch, tokens, hidden] to the same shape; `position_ids` is [batch, tokens]."""
        batch, tokens = hidden_states.shape[:2]
        if self.q_proj is not None:
            query = self.q_proj(hidden_states)
        else:
            query = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(hidden_states)))
        query = query.view(batch, tokens, self.heads, self.nope + self.rope).transpose(1, 2)
        query_nope, query_rope = query.split([self.nope, self.rope], dim=-1)
        compressed, key_rope = self.kv_a_proj_with_mqa(hidden_states).split([self.rank, self.rope], dim=-1)
        rotate = apply_rotary_pos_emb_interleave if self._interleaved else apply_rotary_pos_emb
        query_rope, key_rope = rotate(query_rope, key_rope[:, None], *position_embeddings)
        cache.write_latent(self.layer, torch.cat((self.kv_a_layernorm(compressed), key_rope[:, 0]), dim=-1))

        key_part, value_part = self._expansion()
        # Llama 4's temperature: longer contexts get sharper queries, 1 below the trained length.
        stretch = get_llama_4_attn_scale(position_ids, self._beta, self._trained).to(query.dtype)
        if tokens >= EXPAND_FROM:
            query = torch.cat((query_nope, query_rope), dim=-1) * stretch
            attended = cache.attend(self.layer, query, Look(self.scale, expand=self._expand))
        else:
            query = torch.cat((_by_head(query_nope, key_part), query_rope), dim=-1) * stretch
            attended = cache.attend(self.layer, query, Look(self.scale))
            attended = _by_head(attended.transpose(1, 2), value_part.transpose(1, 2)).transpose(1, 2)
        return self.o_proj(attended.reshape(batch, tokens, self.heads * self.value_width)), None

    def _expansion(self) -> tuple[Tensor, Tensor]:
        """Views of `kv_b_proj`: [heads, nope, rank] for keys, [heads, value_width, rank] for values."""
        weight = self.kv_b_proj.weight.view(self.heads, self.nope + self.value_width, self.rank)
        return weight[:, : self.nope], weight[:, self.nope :]

    def _expand(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [c, rank + rope] to keys [heads, c, nope + rope] and values [heads, c, value_width]."""
        compressed, key_rope = latent.split([self.rank, self.rope], dim=-1)
        weight = self.kv_b_proj.weight
        expanded = nn.functional.linear(compressed.to(weight.dtype), weight).float()
        expanded = expanded.view(-1, self.heads, self.nope + self.value_width).transpose(0, 1)
        keys, values = expanded.split([self.nope, self.value_width], dim=-1)
        return torch.cat((keys, key_rope.expand(self.heads, -1, -1)), dim=-1), values


def stated(config: Any, softmax_scale: SoftmaxScale) -> Literal["plain", "yarn"]:
    """The scale that is meant, for a text model of this (transformers') configuration."""
    if softmax_scale != "stated":
        return softmax_scale
    return "yarn" if getattr(config, "yarn_apply_scale", False) else "plain"


def softmax_scale_of(rope: dict[str, Any], width: int, softmax_scale: Literal["plain", "yarn"]) -> float:
    """What the scores of heads of `width` values are multiplied with; `rope` are the config's parameters."""
    scale = width**-0.5
    strength = rope.get("mscale_all_dim", 0)
    if softmax_scale == "plain" or rope.get("rope_type", "default") == "default" or not strength:
        return scale
    factor = rope["factor"]
    magnitude = 0.1 * strength * math.log(factor) + 1.0 if factor > 1 else 1.0
    return scale * magnitude * magnitude


def _by_head(x: Tensor, weight: Tensor) -> Tensor:
    """[batch, heads, tokens, a] by [heads, a, b] to [batch, heads, tokens, b]."""
    batch, heads, tokens, width = x.shape
    rows = x.transpose(0, 1).reshape(heads, batch * tokens, width)
    return torch.bmm(rows, weight).view(heads, batch, tokens, -1).transpose(0, 1)
