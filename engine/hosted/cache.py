"""What a hosted model keeps of one sequence: buffers that grow in steps, and recurrent states.

Full attention keeps keys and values a head; latent attention (MLA) one row a token for all heads, of which
the first columns are also the values. Layers with a sliding window keep all of their keys too, and read the
window: a sequence can then be cut back to any length, which is worth more to an agent than half the memory.

A recurrent layer (the gated delta rule of Qwen3-Next and Qwen3.5) keeps a state of fixed size, the sum of all
tokens so far. Nothing can be taken out of it again: a sequence with such layers can be cut back only to where
a snapshot of the states was kept (`snapshot`, the last `SNAPSHOTS` of them), or not at all. States are
replaced, never written to, so a snapshot costs no time, and memory only once the sequence went on.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from engine import kv_cache

SNAPSHOTS = 3
"""Kept in one sequence; the oldest goes first."""


@dataclass(frozen=True)
class Attended:
    """A layer that looks back at every token."""

    kv_heads: int
    key_width: int
    value_width: int
    latent: bool = False
    """The values are the first `value_width` columns of the keys, and take no memory of their own."""

    @property
    def values_a_token(self) -> int:
        return self.kv_heads * (self.key_width + (0 if self.latent else self.value_width))


@dataclass(frozen=True)
class Recurrent:
    """A layer that carries a state along."""

    conv: tuple[int, int]
    """Channels, and the tokens that the convolution looks at."""
    state: tuple[int, int, int]
    """Value heads, and the width of keys and of values."""


@dataclass(frozen=True)
class State:
    """Of one recurrent layer, [B, ...]. Never written to."""

    conv: Tensor
    recurrent: Tensor


@dataclass(frozen=True)
class Layout:
    """What the layers of a model keep."""

    layers: tuple[Attended | Recurrent, ...]
    dtype: torch.dtype
    """Of keys, values and latents."""
    state_dtype: torch.dtype
    """Of what a convolution looks at; the recurrent state is float32."""
    device: torch.device

    @property
    def token_bytes(self) -> int:
        values = sum(layer.values_a_token for layer in self.layers if isinstance(layer, Attended))
        return values * self.dtype.itemsize

    @property
    def state_bytes(self) -> int:
        """Of all recurrent layers together, however long the sequence."""
        states = [layer for layer in self.layers if isinstance(layer, Recurrent)]
        conv = sum(prod(layer.conv) for layer in states) * self.state_dtype.itemsize
        return conv + sum(prod(layer.state) for layer in states) * torch.float32.itemsize

    def empty_state(self, layer: Recurrent) -> State:
        """As it is before the first token."""
        return State(
            torch.zeros(1, *layer.conv, dtype=self.state_dtype, device=self.device),
            torch.zeros(1, *layer.state, device=self.device),
        )


class HostedCache:
    """One sequence (`engine.network.SequenceCache`)."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.ids: list[int] = []
        self.capacity = 0
        self._buffers = {
            n: self._buffer(layer, 0) for n, layer in enumerate(layout.layers) if isinstance(layer, Attended)
        }
        self.states: dict[int, State] = {}
        """By layer, after the last token; empty before the first."""
        self._snapshots: dict[int, dict[int, State]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cuttable(self) -> bool:
        return self.layout.state_bytes == 0

    @property
    def bytes(self) -> int:
        """Snapshots of the place where it stands take nothing of their own."""
        states = len({len(self), *self._snapshots}) * self.layout.state_bytes
        return self.capacity * self.layout.token_bytes + states

    def bytes_of(self, tokens: int) -> int:
        grown = kv_cache.whole_steps(tokens) * self.layout.token_bytes
        return max(self.bytes, grown + self._most_states)

    def tokens_in(self, budget: int) -> int:
        steps = max(budget - self._most_states, 0) // self.layout.token_bytes // kv_cache.STEP
        return steps * kv_cache.STEP

    @property
    def _most_states(self) -> int:
        return (1 + SNAPSHOTS) * self.layout.state_bytes

    def reserve(self, tokens: int) -> None:
        """Room for `tokens` in all; keeps what is there."""
        if tokens <= self.capacity:
            return
        capacity = kv_cache.whole_steps(tokens)
        for n, old in self._buffers.items():
            layer = self.layout.layers[n]
            assert isinstance(layer, Attended)
            grown = self._buffer(layer, capacity)
            for new, had in zip(grown, old, strict=True):
                new[:, : len(self)] = had[:, : len(self)]
            self._buffers[n] = grown
        self.capacity = capacity

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor | None) -> None:
        """Put [kv_heads, n, width] at places [start, start + n); they count once `commit` was called.
        `values` is None where the layer is latent."""
        kept = self._buffers[layer]
        end = start + keys.shape[1]
        kept[0][:, start:end] = keys
        if values is not None:
            kept[1][:, start:end] = values

    def read(self, layer: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys and values at places [start, stop), float32."""
        kept = self._buffers[layer]
        keys = kept[0][:, start:stop].float()
        if len(kept) == 2:
            return keys, kept[1][:, start:stop].float()
        what = self.layout.layers[layer]
        assert isinstance(what, Attended)
        return keys, keys[..., : what.value_width]

    def buffers(self, layer: int) -> tuple[Tensor, ...]:
        """[kv_heads, capacity, width]: keys and values, or latents alone."""
        return self._buffers[layer]

    def commit(self, ids: list[int], states: dict[int, State]) -> None:
        """What was written for `ids` counts from now on; `states` are the recurrent layers' after them."""
        self.ids.extend(ids)
        self.states = states

    def reusable(self, tokens: int) -> int:
        tokens = min(tokens, len(self))
        if self.cuttable:
            return tokens
        return max((place for place in (0, len(self), *self._snapshots) if place <= tokens), default=0)

    def snapshot(self) -> None:
        if self.cuttable or not self.ids:
            return
        self._snapshots.pop(len(self), None)
        self._snapshots[len(self)] = self.states
        while len(self._snapshots) > SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]

    def truncate(self, tokens: int) -> None:
        self.states = self.states_at(tokens)
        self._snapshots = {place: states for place, states in self._snapshots.items() if place <= tokens}
        del self.ids[tokens:]

    def states_at(self, tokens: int) -> dict[int, State]:
        """Of the recurrent layers after so many tokens, a length that `reusable` names."""
        if self.cuttable or tokens == 0:
            return {}
        return self.states if tokens >= len(self) else self._snapshots[tokens]

    def copy(self, tokens: int) -> HostedCache:
        twin = HostedCache(self.layout)
        twin.reserve(tokens)
        for n, kept in self._buffers.items():
            for new, had in zip(twin._buffers[n], kept, strict=True):
                new[:, :tokens] = had[:, :tokens]
        twin.commit(self.ids[:tokens], self.states_at(tokens))
        return twin

    def _buffer(self, layer: Attended, capacity: int) -> tuple[Tensor, ...]:
        widths = (layer.key_width,) if layer.latent else (layer.key_width, layer.value_width)
        return tuple(
            torch.empty(layer.kv_heads, capacity, width, dtype=self.layout.dtype, device=self.layout.device)
            for width in widths
        )
