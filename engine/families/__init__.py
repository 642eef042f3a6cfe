"""What differs between model families, in one place: chat template, call format, thinking, effort."""

from __future__ import annotations

from typing import Literal, Protocol

from engine.errors import UnsupportedModel
from engine.families.qwen2 import Qwen2
from engine.families.stream import AnswerParser
from engine.families.vocabulary import Vocabulary
from engine.request import ChatRequest


class Family(Protocol):
    """How one family of models is spoken to."""

    name: str
    effort: Literal["native", "prompted", "unsupported"]
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    think_close: tuple[int, ...]
    """Tokens that are forced where the thinking budget is spent."""

    def encode(self, request: ChatRequest) -> list[int]:
        """The prompt's token ids, up to where the answer begins."""
        ...

    def opening(self, request: ChatRequest) -> tuple[int, ...]:
        """Tokens of the answer that are not left to the model, after the prompt."""
        ...

    def parser(self, request: ChatRequest) -> AnswerParser:
        """Reads the text that comes after prompt and opening."""
        ...


FAMILIES: dict[str, type[Qwen2]] = {"qwen2": Qwen2}
"""By a GGUF file's `general.architecture`."""


def family_of(architecture: str, vocabulary: Vocabulary) -> Family:
    """The family of a model. Raises UnsupportedModel."""
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedModel(f"Models of architecture {architecture!r} are not supported; {known} is.")
    return FAMILIES[architecture](vocabulary)
