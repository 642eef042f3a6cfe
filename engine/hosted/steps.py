"""One pass through the layers, as they see it: where their keys, values and states go, and what they look at.

A step takes the place of transformers' `Cache` in the layers' calls (`update`, `get_conv_state` and their
like are its names), and is what the registered attention function asks. It writes beside what the sequence
holds; nothing of it counts before it is committed, so a step that is abandoned leaves the sequence as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.hosted.attention import attend
from engine.hosted.cache import Attended, HostedCache, Recurrent, State

Expand = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Latents [c, width] to keys [heads, c, D] and values [heads, c, V]."""


@dataclass(frozen=True)
class Look:
    """How a layer's queries look at its keys."""

    scale: float
    """What scores are multiplied with."""
    window: int | None = None
    """Tokens that a query sees, its own included; None: all before it."""
    sinks: Tensor | None = None
    """[heads]: scores that take their share of the weight and give no value."""
    expand: Expand | None = None

    def sinks_of(self, groups: int, each: int, times: int) -> Tensor | None:
        """[groups, times * each], float32: of `each` heads in a group, for so many queries."""
        if self.sinks is None:
            return None
        by_group = self.sinks.float().view(groups, 1, each)
        return by_group.expand(groups, times, each).reshape(groups, -1)


class Step(Protocol):
    """What layers are given, in the shapes that transformers has: [batch, heads, tokens, width]."""

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]: ...

    def write_latent(self, layer: int, latent: Tensor) -> None:
        """[batch, tokens, width]"""
        ...

    def attend(self, layer: int, query: Tensor, look: Look) -> Tensor:
        """[batch, heads, tokens, D] to [batch, tokens, heads, V], in the query's dtype."""
        ...


class _States:
    """The recurrent layers' part of transformers' `Cache`."""

    def __init__(self, states: dict[int, State]):
        self._before = states
        self._conv: dict[int, Tensor] = {}
        self._recurrent: dict[int, Tensor] = {}

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """A copy, which a step of one token shifts in place."""
        if layer_idx not in self._before:
            return None
        self._conv[layer_idx] = self._before[layer_idx].conv.clone()
        return self._conv[layer_idx]

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        return self._before[layer_idx].recurrent if layer_idx in self._before else None

    def update_conv_state(
        self, conv_states: Tensor, layer_idx: int, conv_kernel_size: int, **_: Any
    ) -> Tensor:
        """[batch, channels, tokens] with what came before them; the last of it is kept."""
        if layer_idx in self._before:
            seen = torch.cat((self._before[layer_idx].conv, conv_states), dim=-1)
        else:
            missing = max(conv_kernel_size - conv_states.shape[-1], 0)
            seen = torch.nn.functional.pad(conv_states, (missing, 0))
        self._conv[layer_idx] = seen[..., -conv_kernel_size:].clone()
        return seen

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int, **_: Any) -> Tensor:
        self._recurrent[layer_idx] = recurrent_states
        return recurrent_states

    def is_recording_past(self, layer_idx: int) -> bool:
        return False

    def after(self) -> dict[int, State]:
        """The states once every layer was run."""
        return {n: State(self._conv[n], self._recurrent[n]) for n in self._recurrent}


class PrefillStep(_States):
    """T more tokens of one sequence; the batch is 1."""

    def __init__(self, cache: HostedCache, tokens: int):
        super().__init__(cache.states)
        self._cache = cache
        self._start, self._end = len(cache), len(cache) + tokens
        self._places = torch.arange(self._start, self._end, device=cache.layout.device)
        cache.reserve(self._end)

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self._cache.write(layer_idx, self._start, keys[0], values[0])
        return keys, values

    def write_latent(self, layer: int, latent: Tensor) -> None:
        self._cache.write(layer, self._start, latent, None)

    def attend(self, layer: int, query: Tensor, look: Look) -> Tensor:
        _, heads, tokens, width = query.shape

        def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
            keys, values = self._cache.read(layer, start, stop)
            return (keys, values) if look.expand is None else look.expand(keys[0])

        groups = heads if look.expand else _attended(self._cache, layer).kv_heads
        each = heads // groups
        rows = query.view(groups, each, tokens, width).transpose(1, 2).reshape(groups, tokens * each, width)
        last = since = None
        if tokens > 1:
            last = self._places.repeat_interleave(each)
        if look.window is not None and self._end > look.window:
            since = (self._places - look.window + 1).clamp_(min=0).repeat_interleave(each)
        partial = attend(rows.float() * look.scale, read, self._end, last, since)
        sinks = look.sinks_of(groups, each, tokens)
        attended = partial.finished(sinks).view(groups, tokens, each, -1).transpose(0, 1)
        return attended.reshape(1, tokens, heads, -1).to(query.dtype)

    def commit(self, ids: list[int]) -> None:
        self._cache.commit(ids, self.after())


class BranchStep(_States):
    """One more token for each of B branches: all read the prefix in place, each has a tail of its own."""

    def __init__(self, prefix: HostedCache, lengths: Tensor, tails: Tails, states: dict[int, State]):
        super().__init__(states)
        self._prefix, self._lengths, self._tails = prefix, lengths, tails
        self._reach = int(lengths.max())

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self._tails.write(layer_idx, keys[:, :, 0], values[:, :, 0])
        return keys, values

    def write_latent(self, layer: int, latent: Tensor) -> None:
        self._tails.write(layer, latent, None)

    def attend(self, layer: int, query: Tensor, look: Look) -> Tensor:
        assert look.expand is None, "one token at a time is attended to over the latents"
        batch, heads, _, width = query.shape
        groups = _attended(self._prefix, layer).kv_heads
        each = heads // groups
        of_branch = (query.float() * look.scale).view(batch, groups, each, width)
        rows = of_branch.transpose(0, 1).reshape(groups, batch * each, width)
        since = None
        begin = 0
        if look.window is not None:
            first = self._lengths + self._tails.length - look.window + 1
            since = first.clamp_(min=0).repeat_interleave(each)
            begin = max(0, self._tails.length - look.window + 1)
        on_prefix = attend(
            rows,
            lambda start, stop: self._prefix.read(layer, start, stop),
            self._reach,
            (self._lengths - 1).repeat_interleave(each),
            since,
        )
        keys, values = self._tails.read(layer, begin)
        on_tail = attend(
            of_branch.reshape(batch * groups, each, width),
            lambda start, stop: (keys[:, start:stop], values[:, start:stop]),
            keys.shape[1],
        )
        for name in ("weighted", "total", "peak"):  # to the prefix's order of rows
            part: Tensor = getattr(on_tail, name)
            part = part.view(batch, groups, each, *part.shape[2:]).transpose(0, 1)
            setattr(on_tail, name, part.reshape(groups, batch * each, *part.shape[3:]))
        sinks = look.sinks_of(groups, each, batch)
        attended = on_prefix.merged(on_tail).finished(sinks).view(groups, batch, each, -1)
        return attended.transpose(0, 1).reshape(batch, 1, heads, -1).to(query.dtype)


class Tails:
    """Keys and values of the tokens that branches do not share: [B, kv_heads, capacity, width] a layer."""

    def __init__(self, cache: HostedCache, batch: int, capacity: int):
        self._layers = cache.layout.layers
        self._kept = {
            n: tuple(
                buffer.new_empty(batch, layer.kv_heads, capacity, buffer.shape[-1])
                for buffer in cache.buffers(n)
            )
            for n, layer in enumerate(self._layers)
            if isinstance(layer, Attended)
        }
        self.length = 0

    def write(self, layer: int, keys: Tensor, values: Tensor | None) -> None:
        """[B, kv_heads, width] at the end; it counts once `length` was raised."""
        kept = self._kept[layer]
        kept[0][:, :, self.length] = keys
        if values is not None:
            kept[1][:, :, self.length] = values

    def read(self, layer: int, begin: int) -> tuple[Tensor, Tensor]:
        """[B * kv_heads, n, width], float32: from place `begin` of the tails to the token just written."""
        kept, what = self._kept[layer], self._layers[layer]
        assert isinstance(what, Attended)
        keys, *values = (buffer[:, :, begin : self.length + 1].float().flatten(0, 1) for buffer in kept)
        return keys, values[0] if values else keys[..., : what.value_width]

    def keep(self, rows: list[int]) -> None:
        self._kept = {n: tuple(buffer[rows] for buffer in kept) for n, kept in self._kept.items()}


def _attended(cache: HostedCache, layer: int) -> Attended:
    what = cache.layout.layers[layer]
    assert isinstance(what, Attended)
    return what


def stacked(states: list[dict[int, State]], cache: HostedCache) -> dict[int, State]:
    """The recurrent states of B branches, as one batch."""
    together: dict[int, State] = {}
    for n, layer in enumerate(cache.layout.layers):
        if isinstance(layer, Recurrent):
            each = [state.get(n) or cache.layout.empty_state(layer) for state in states]
            together[n] = State(
                torch.cat([state.conv for state in each]), torch.cat([state.recurrent for state in each])
            )
    return together
