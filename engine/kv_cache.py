"""The keys and values of one sequence, for every layer, growing in steps."""

from __future__ import annotations

import torch

from engine.model import CACHE_STEP

STEP = CACHE_STEP
KEPT_AS = torch.float16
"""Half the memory of float32. A step reads the whole sequence from memory, so that the smaller form also pays
for being widened, layer by layer, in the processor's cache."""


class Widened:
    """One layer's keys and values in float32, to compute with. All caches of a model take turns with it."""

    def __init__(self, kv_heads: int, head_dim: int):
        self._shape = (kv_heads, head_dim)
        self._keys = self._values = torch.empty(kv_heads, 0, head_dim)

    def of(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Valid until the next call."""
        tokens = keys.shape[1]
        if tokens > self._keys.shape[1]:
            kv_heads, head_dim = self._shape
            self._keys, self._values = (
                torch.empty(kv_heads, whole_steps(tokens), head_dim) for _ in range(2)
            )
        wide_keys, wide_values = self._keys[:, :tokens], self._values[:, :tokens]
        return wide_keys.copy_(keys), wide_values.copy_(values)


class KVCache:
    """Keys and values, [kv_heads, tokens, head_dim] a layer, and the tokens they are of."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int, widened: Widened | None = None):
        self._shape = (kv_heads, head_dim)
        self._widened = widened or Widened(kv_heads, head_dim)
        self._keys = [self._buffer(0) for _ in range(layers)]
        self._values = [self._buffer(0) for _ in range(layers)]
        self.ids: list[int] = []

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        return self._keys[0].shape[1] * self.token_bytes

    @property
    def token_bytes(self) -> int:
        kv_heads, head_dim = self._shape
        return 2 * len(self._keys) * kv_heads * head_dim * KEPT_AS.itemsize

    def bytes_of(self, tokens: int) -> int:
        """What it takes with room for `tokens`: never less than now."""
        return max(self.bytes, whole_steps(tokens) * self.token_bytes)

    def tokens_in(self, budget: int) -> int:
        """The longest sequence that fits into so many bytes."""
        return budget // self.token_bytes // STEP * STEP

    @property
    def cuttable(self) -> bool:
        return True

    def reusable(self, tokens: int) -> int:
        """Keys and values stand for themselves: what is cut back to any length is what it was."""
        return min(tokens, len(self))

    def snapshot(self) -> None:
        """Nothing to do: see `reusable`."""

    def reserve(self, tokens: int) -> None:
        """Room for `tokens` in all; keeps what is there."""
        if tokens <= self._keys[0].shape[1]:
            return
        for buffers in (self._keys, self._values):
            for layer, old in enumerate(buffers):
                buffers[layer] = self._buffer(whole_steps(tokens))
                buffers[layer][:, : len(self)] = old[:, : len(self)]

    def write(self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put [kv_heads, n, head_dim] at positions [start, start + n); `commit` makes them count."""
        end = start + keys.shape[1]
        self._keys[layer][:, start:end] = keys
        self._values[layer][:, start:end] = values

    def read(self, layer: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions [0, end) in float32, valid until the next read of any cache of the model."""
        return self._widened.of(self._keys[layer][:, :end], self._values[layer][:, :end])

    def commit(self, ids: list[int]) -> None:
        self.ids.extend(ids)

    def truncate(self, tokens: int) -> None:
        del self.ids[tokens:]

    def copy(self, tokens: int) -> KVCache:
        """A cache of its own with the first `tokens` of this one."""
        twin = KVCache(len(self._keys), *self._shape, self._widened)
        twin.reserve(tokens)
        for layer in range(len(self._keys)):
            twin.write(layer, 0, self._keys[layer][:, :tokens], self._values[layer][:, :tokens])
        twin.commit(self.ids[:tokens])
        return twin

    def _buffer(self, capacity: int) -> torch.Tensor:
        kv_heads, head_dim = self._shape
        return torch.empty(kv_heads, capacity, head_dim, dtype=KEPT_AS)


def whole_steps(tokens: int) -> int:
    return -(-tokens // STEP) * STEP
