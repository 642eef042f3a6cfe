"""What the host needs of a loaded model. `engine.runtime.Runtime` is one; naming it here costs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.request import Sampling

if TYPE_CHECKING:
    from engine.vision.album import Picture
    from engine.vision.grid import ImageGrid

CACHE_BUDGET = 512 << 20
"""Bytes of keys and values, of the sequence at work and of those kept for later prompts together. It bounds
the context: with it the default model stays under 3 GB (docs/engine.md)."""
CACHE_STEP = 1024
"""Tokens by which what is kept of a sequence grows."""
Cancelled = Callable[[], bool]
"""Whether the one who asked has gone away. A model looks at it at least once a token."""


class Sampled(Protocol):
    """A generated token, its log-probability and the entropy it was drawn from (nats)."""

    @property
    def token_id(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def entropy(self) -> float: ...


class Decoder(Protocol):
    """Token ids to text, holding back the bytes of a character that is not whole yet."""

    def push(self, token_id: int) -> str: ...
    def end(self) -> str: ...


class Tokenizer(Protocol):
    """Ordinary text and ids; special tokens are only ever made by name."""

    @property
    def special(self) -> dict[str, int]: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_with_ends(self, text: str) -> tuple[list[int], list[tuple[int, int]]]: ...
    def decode(self, ids: list[int] | tuple[int, ...]) -> str: ...
    def token_bytes(self, token_id: int) -> bytes: ...
    def stream(self) -> Decoder: ...


class Model(Protocol):
    """Not thread safe. A call whose `cancelled` turns true raises within one token."""

    @property
    def name(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def prefill_speed(self) -> float | None: ...
    @property
    def last_cached(self) -> int: ...
    @property
    def image_grid(self) -> ImageGrid | None:
        """How the model divides an image; None for one that sees none."""
        ...

    def generate(
        self,
        prompt: list[int],
        *,
        max_tokens: int,
        sampling: Sampling,
        stop_ids: frozenset[int],
        cancelled: Cancelled,
        on_prefill: Callable[[int, int], None] | None = None,
        lane: str = "",
    ) -> Iterator[Sampled]:
        """`lane` names the kept prefix to go on from: what others hold is copied, never cut.

        Ids below zero are places of images, see `engine.vision.places`; those of `see` are known.
        """
        ...

    def see(self, pictures: Mapping[int, Picture]) -> None:
        """The images of the next prompts, by their numbers. Asked only where there is an image grid."""
        ...

    def score(
        self, prefix: list[int], text: list[int], top: int, cancelled: Cancelled
    ) -> list[tuple[float, list[tuple[int, float]]]]: ...

    def branch(
        self,
        prefix: list[int],
        text: list[int],
        starts: Sequence[tuple[int, int]],
        *,
        stop: Callable[[list[int]], bool],
        max_tokens: int,
        cancelled: Cancelled,
    ) -> list[tuple[list[int], float, bool]]: ...

    def cached_prefix(self, ids: list[int]) -> int: ...


class Load(Protocol):
    """Makes a model of what lies at a path. Raises engine.errors."""

    def __call__(
        self, path: Path, threads: int, progress: Callable[[float], None], /, memory: int | None = None
    ) -> Model:
        """`progress` is told the share that is loaded, 0 to 1; `memory`, in bytes, is what a client named."""
        ...
