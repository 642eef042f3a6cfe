"""What `engine.runtime` needs of a network: qwen2's own (`engine.qwen2_model`), or one of transformers'
(`engine.hosted`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from engine.model import Tokenizer

if TYPE_CHECKING:
    from engine.vision.album import Picture
    from engine.vision.grid import ImageGrid


class SequenceCache(Protocol):
    """What a network keeps of one sequence of tokens, so that it need not read them again."""

    ids: list[int]
    """The tokens. Those below zero are places of images, each its own: equal ids are equal input."""

    def __len__(self) -> int: ...

    @property
    def bytes(self) -> int:
        """What it takes now."""
        ...

    def bytes_of(self, tokens: int) -> int:
        """What it takes with room for `tokens`: never less than now."""
        ...

    def tokens_in(self, budget: int) -> int:
        """The longest sequence that fits into so many bytes."""
        ...

    def reserve(self, tokens: int) -> None:
        """Room for `tokens` in all; keeps what is there."""
        ...

    def reusable(self, tokens: int) -> int:
        """The longest prefix, of at most `tokens`, that it can be cut back to. Keys and values can be cut
        anywhere; a recurrent state stands only where it is, and where a snapshot of it was kept."""
        ...

    def snapshot(self) -> None:
        """Make the place where it now stands one that it can be cut back to."""
        ...

    @property
    def cuttable(self) -> bool:
        """Whether it can be cut back to any length, snapshots or not."""
        ...

    def truncate(self, tokens: int) -> None:
        """Forget all but the first `tokens`, a length that `reusable` names."""
        ...

    def copy(self, tokens: int) -> SequenceCache:
        """A cache of its own with the first `tokens` of this one, a length that `reusable` names."""
        ...


class Branches(Protocol):
    """B continuations of one sequence, each from a place of its own, decoded as a batch."""

    def step(self, ids: list[int]) -> Tensor:
        """One more token for each. Returns hidden states [B, hidden], normed for the head."""
        ...

    def keep(self, rows: list[int]) -> None:
        """Drop the branches that ended."""
        ...


class Network(Protocol):
    """Not thread safe."""

    @property
    def context(self) -> int:
        """Tokens, as the model's file says."""
        ...

    def new_cache(self) -> Any:
        """An empty `SequenceCache` of its own kind: the only kind that it is ever given."""
        ...

    def prefill(self, ids: list[int], cache: Any, check: Callable[[], None] = ...) -> Tensor:
        """Append `ids` to the cached sequence. Returns hidden states [T, hidden], normed for the head.

        `check` is called before each layer and may raise: the cache then stays as it was.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, hidden] to float32 [T, vocabulary], on the CPU."""
        ...

    def branches(
        self, prefix: Any, lengths: list[int], capacity: int, check: Callable[[], None] = ...
    ) -> Branches:
        """Branch b continues the first `lengths[b]` tokens of `prefix`, by at most `capacity` tokens.

        `check` may raise, where it takes long to find what the branches begin from.
        """
        ...


class SeeingNetwork(Network, Protocol):
    """One that takes images."""

    def see(self, pictures: Mapping[int, Picture]) -> None:
        """The images of the next prompts, by their numbers: see `engine.vision.places`."""
        ...


class EndingTokenizer(Tokenizer, Protocol):
    """A tokenizer that also knows which tokens end a text."""

    @property
    def end_ids(self) -> frozenset[int]: ...


@dataclass(frozen=True)
class Opened:
    """A model that was read: all that `engine.runtime.Runtime` is made of."""

    network: Network
    tokenizer: EndingTokenizer
    name: str
    architecture: str
    """By which `engine.families` knows how it is spoken to."""
    image_grid: ImageGrid | None = None
    """How it divides an image; None for one that sees none. With a grid, the network is a `SeeingNetwork`."""
    cache_budget: int | None = None
    """Bytes for what is kept of all sequences together; None: the runtime's own figure."""
    prefill_chunk: int | None = None
    """Tokens of a prompt that are fed together; None: the runtime's own figure."""
