"""The qwen2 decoder over quantised layers: prefill of one sequence, and decode of many branches of it.

Shapes: T tokens, H query heads in G groups over K key-value heads (H = G * K), D values a head.
Parity with transformers' Qwen2ForCausalLM on the same dequantised weights is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

from engine.gguf_file import GgufFile, Tensor
from engine.kv_cache import KVCache, Widened
from engine.quantised import QuantisedEmbedding, QuantisedLinear, use_fbgemm


class Qwen2Layer:
    def __init__(self, file: GgufFile, n: int, note: Callable[[int], None]):
        def part(name: str) -> Tensor:
            return file.tensor(f"blk.{n}.{name}")

        names = ("attn_q", "attn_k", "attn_v")
        weights = [part(f"{name}.weight") for name in names]
        self.qkv = QuantisedLinear.from_tensors(weights, [part(f"{name}.bias") for name in names], note)
        self.output = QuantisedLinear.from_tensors([part("attn_output.weight")], note=note)
        self.gate_up = QuantisedLinear.from_tensors(
            [part("ffn_gate.weight"), part("ffn_up.weight")], note=note
        )
        self.down = QuantisedLinear.from_tensors([part("ffn_down.weight")], note=note)
        self.attention_norm = torch.from_numpy(part("attn_norm.weight").floats().copy())
        self.mlp_norm = torch.from_numpy(part("ffn_norm.weight").floats().copy())


class Qwen2Model:
    def __init__(self, file: GgufFile, progress: Callable[[float], None] | None = None, threads: int = 2):
        use_fbgemm()
        self.hidden: int = file.value("embedding_length")
        self.heads: int = file.value("attention.head_count")
        self.kv_heads: int = file.value("attention.head_count_kv")
        self.head_dim = self.hidden // self.heads
        self.groups = self.heads // self.kv_heads
        self.context: int = file.value("context_length")
        self.epsilon: float = file.value("attention.layer_norm_rms_epsilon")
        rope_base: float = file.metadata.get(f"{file.architecture}.rope.freq_base", 10_000.0)
        powers = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        self._inverse_frequencies = 1.0 / rope_base**powers
        self.embedding = QuantisedEmbedding(file.tensor("token_embd.weight"))
        self.norm = torch.from_numpy(file.tensor("output_norm.weight").floats().copy())
        head = file.tensors.get("output.weight") or file.tensor("token_embd.weight")

        total = sum(tensor.data.size for tensor in file.tensors.values())
        read = 0

        def note(amount: int) -> None:
            nonlocal read
            read += amount
            if progress:
                progress(min(read / total, 1.0))

        def layer(n: int) -> Qwen2Layer:
            built = Qwen2Layer(file, n, note)
            file.release()
            return built

        with ThreadPoolExecutor(threads) as pool:
            self.layers = list(pool.map(layer, range(file.value("block_count"))))
        self.head = QuantisedLinear.from_tensors([head], note=note)
        self.vocabulary = self.head.rows
        self._widened = Widened(self.kv_heads, self.head_dim)

    def new_cache(self) -> KVCache:
        return KVCache(len(self.layers), self.kv_heads, self.head_dim, self._widened)

    @torch.inference_mode()
    def prefill(
        self, ids: list[int], cache: KVCache, check: Callable[[], None] = lambda: None
    ) -> torch.Tensor:
        """Append `ids` to the cached sequence. Returns hidden states [T, hidden], normed for the head.

        `check` is called before each layer and may raise: the cache then stays as it was.
        """
        start, end = len(cache), len(cache) + len(ids)
        cache.reserve(end)
        positions = torch.arange(start, end)
        rotation = self._rotation(positions)
        # Query rows are ordered [group, token], so the causal mask repeats for each group.
        causal = torch.arange(end)[None, :] <= positions[:, None]
        mask = None if len(ids) == 1 else causal.repeat(self.groups, 1)
        x = self.embedding(ids)
        for n, layer in enumerate(self.layers):
            check()
            queries, keys, values = self._project(layer, x, rotation)
            cache.write(n, start, keys, values)
            all_keys, all_values = cache.read(n, end)
            grouped = queries.reshape(self.kv_heads, self.groups * len(ids), self.head_dim)
            attended = F.scaled_dot_product_attention(
                grouped[None], all_keys[None], all_values[None], attn_mask=mask
            )
            x = self._finish(layer, x, attended.reshape(self.heads, len(ids), self.head_dim))
        cache.commit(ids)
        return self._rms(x, self.norm)

    @torch.inference_mode()
    def decode_branches(
        self, ids: list[int], prefix: KVCache, lengths: torch.Tensor, tails: BranchTails
    ) -> torch.Tensor:
        """One token for each of B branches. Returns hidden states [B, hidden], normed for the head.

        Branch b continues the first `lengths[b]` tokens of `prefix`, then its own tail. The prefix's
        keys and values are read in place by all branches; only tails are per branch.
        """
        batch = len(ids)
        rotation = self._rotation(lengths + tails.length)
        reach = int(lengths.max())
        hidden_part = (torch.arange(reach)[None, :] >= lengths[:, None])[:, None, :]  # [B, 1, reach]
        scale = self.head_dim**-0.5
        x = self.embedding(ids)
        for n, layer in enumerate(self.layers):
            queries, keys, values = self._project(layer, x, rotation)  # [H|K, B, D]
            tail_keys, tail_values = tails.append(n, keys.transpose(0, 1), values.transpose(0, 1))
            prefix_keys, prefix_values = prefix.read(n, reach)
            grouped = queries.reshape(self.kv_heads, self.groups, batch, self.head_dim).transpose(1, 2)
            flat = grouped.reshape(self.kv_heads, batch * self.groups, self.head_dim) * scale
            on_prefix = (flat @ prefix_keys.transpose(1, 2)).view(self.kv_heads, batch, self.groups, reach)
            on_prefix = on_prefix.masked_fill(hidden_part, float("-inf"))
            per_branch = flat.view(self.kv_heads, batch, self.groups, self.head_dim).transpose(0, 1)
            on_tail = (per_branch @ tail_keys.transpose(2, 3)).transpose(0, 1)  # [K, B, G, tail]
            weights = torch.softmax(torch.cat((on_prefix, on_tail), dim=-1), dim=-1)
            shares = weights[..., :reach].reshape(self.kv_heads, batch * self.groups, reach)
            attended = (shares @ prefix_values).view(self.kv_heads, batch, self.groups, self.head_dim)
            attended = attended + (weights[..., reach:].transpose(0, 1) @ tail_values).transpose(0, 1)
            x = self._finish(layer, x, attended.transpose(1, 2).reshape(self.heads, batch, self.head_dim))
        tails.length += 1
        return self._rms(x, self.norm)

    def branches(
        self, prefix: KVCache, lengths: list[int], capacity: int, check: Callable[[], None] = lambda: None
    ) -> Qwen2Branches:
        """Branch b continues the first `lengths[b]` tokens of `prefix`, by at most `capacity` tokens."""
        return Qwen2Branches(self, prefix, lengths, capacity)

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[T, hidden] to float32 [T, vocabulary]."""
        return self.head(hidden)

    def _project(
        self, layer: Qwen2Layer, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries [H, T, D], keys and values [K, T, D]; queries and keys rotated to their positions."""
        heads = self.heads + 2 * self.kv_heads
        qkv = layer.qkv(self._rms(x, layer.attention_norm)).view(x.shape[0], heads, self.head_dim)
        queries_keys, values = qkv.transpose(0, 1).split([self.heads + self.kv_heads, self.kv_heads])
        queries, keys = _rotate(queries_keys, *rotation).split([self.heads, self.kv_heads])
        return queries, keys, values

    def _finish(self, layer: Qwen2Layer, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Output projection and MLP, each added to the residual; `attended` is [H, T, D]."""
        x = x + layer.output(attended.transpose(0, 1).reshape(x.shape[0], self.hidden))
        gate, up = layer.gate_up(self._rms(x, layer.mlp_norm)).chunk(2, dim=1)
        return x + layer.down(F.silu(gate) * up)

    def _rms(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (self.hidden,), weight, self.epsilon)

    def _rotation(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine [T, D] of rotary embedding, halves layout (as transformers has it)."""
        angles = positions.float()[:, None] * self._inverse_frequencies[None, :]
        angles = torch.cat((angles, angles), dim=1)
        return angles.cos(), angles.sin()


class BranchTails:
    """Keys and values of the tokens that branches do not share: [B, K, tail, D] a layer."""

    def __init__(self, layers: int, batch: int, kv_heads: int, head_dim: int, capacity: int):
        self._keys = torch.empty(layers, batch, kv_heads, capacity, head_dim)
        self._values = torch.empty_like(self._keys)
        self.length = 0

    def append(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put [B, K, D] at the end; returns the layer's keys and values, the new ones included."""
        self._keys[layer, :, :, self.length] = keys
        self._values[layer, :, :, self.length] = values
        end = self.length + 1
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def keep(self, rows: list[int]) -> None:
        """Drop the branches that ended."""
        self._keys, self._values = self._keys[:, rows], self._values[:, rows]


class Qwen2Branches:
    """Branches of one sequence, decoded as a batch (`engine.network.Branches`)."""

    def __init__(self, model: Qwen2Model, prefix: KVCache, lengths: list[int], capacity: int):
        self._model, self._prefix = model, prefix
        self._lengths = torch.tensor(lengths)
        self._tails = BranchTails(len(model.layers), len(lengths), model.kv_heads, model.head_dim, capacity)

    def step(self, ids: list[int]) -> torch.Tensor:
        return self._model.decode_branches(ids, self._prefix, self._lengths, self._tails)

    def keep(self, rows: list[int]) -> None:
        self._tails.keep(rows)
        self._lengths = self._lengths[rows]


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of [heads, T, D]."""
    left, right = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-right, left), dim=-1) * sine
