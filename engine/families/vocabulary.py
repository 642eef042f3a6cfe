"""What a family needs of a tokenizer, and of the images that a request shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from engine.model import Decoder


class Vocabulary(Protocol):
    """Ordinary text to ids, special tokens by name; every `engine.model.Tokenizer` is one."""

    @property
    def special(self) -> Mapping[str, int]:
        """Ids of the special tokens by their name."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; what looks like a special token in it stays text."""
        ...

    def decode(self, ids: list[int] | tuple[int, ...]) -> str: ...

    def token_bytes(self, token_id: int) -> bytes: ...

    def stream(self) -> Decoder: ...


class Shown(Protocol):
    """An image as it stands in a prompt: rows of places that the model fills with what it sees."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...

    def place(self, n: int) -> int:
        """The id that stands for the n-th place, row by row: below zero, and this image's alone.

        So two images never look the same to a prefix cache, as the one [IMG] token would make them.
        """
        ...


Pictures = Mapping[str, Shown]
"""The images of a request by their hashes."""
