"""The keys and values of one sequence, for every layer, growing in steps."""

from __future__ import annotations

import torch

STEP = 1024
"""Tokens by which the buffers grow."""


class KVCache:
    """Keys and values in float32, [kv_heads, tokens, head_dim] a layer, and the tokens they are of."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int):
        self._shape = (kv_heads, head_dim)
        self._keys = [self._buffer(0) for _ in range(layers)]
        self._values = [self._buffer(0) for _ in range(layers)]
        self.ids: list[int] = []

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        return 2 * len(self._keys) * self._keys[0].numel() * 4

    def reserve(self, tokens: int) -> None:
        """Room for `tokens` in all; keeps what is there."""
        if tokens <= self._keys[0].shape[1]:
            return
        capacity = -(-tokens // STEP) * STEP
        for buffers in (self._keys, self._values):
            for layer, old in enumerate(buffers):
                buffers[layer] = self._buffer(capacity)
                buffers[layer][:, : len(self)] = old[:, : len(self)]

    def write(self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put [kv_heads, n, head_dim] at positions [start, start + n); `commit` makes them count."""
        end = start + keys.shape[1]
        self._keys[layer][:, start:end] = keys
        self._values[layer][:, start:end] = values

    def read(self, layer: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of positions [0, end)."""
        return self._keys[layer][:, :end], self._values[layer][:, :end]

    def commit(self, ids: list[int]) -> None:
        self.ids.extend(ids)

    def truncate(self, tokens: int) -> None:
        del self.ids[tokens:]

    def copy(self, tokens: int) -> KVCache:
        """A cache of its own with the first `tokens` of this one."""
        twin = KVCache(len(self._keys), *self._shape)
        twin.reserve(tokens)
        for layer in range(len(self._keys)):
            keys, values = self.read(layer, tokens)
            twin.write(layer, 0, keys, values)
        twin.commit(self.ids[:tokens])
        return twin

    def _buffer(self, capacity: int) -> torch.Tensor:
        kv_heads, head_dim = self._shape
        return torch.empty(kv_heads, capacity, head_dim)
