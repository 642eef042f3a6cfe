"""What a family needs of a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Vocabulary(Protocol):
    """Ordinary text to ids, special tokens by name; `engine.tokenizer.Tokenizer` is one."""

    @property
    def special(self) -> Mapping[str, int]:
        """Ids of the special tokens by their name."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; what looks like a special token in it stays text."""
        ...

    def decode(self, ids: list[int] | tuple[int, ...]) -> str: ...

    def token_bytes(self, token_id: int) -> bytes: ...
