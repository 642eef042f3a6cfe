"""What differs between model families, in one place: chat template, call format, thinking, effort."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

from engine.errors import UnsupportedModel
from engine.families.gpt_oss import GptOss
from engine.families.mistral import Mistral
from engine.families.qwen2 import Qwen2
from engine.families.qwen3 import DEFAULTS, Qwen3
from engine.families.reader import Reader
from engine.families.vocabulary import Pictures, Vocabulary
from engine.request import ChatRequest


class Family(Protocol):
    """How one family of models is spoken to."""

    name: str
    effort: Literal["native", "prompted", "unsupported"]
    effort_at_start: bool
    """A change of effort changes the prompt at its beginning, so that each effort has a prefix of its own."""
    images: bool
    """Whether its template has a place for images. The model decides whether it sees them."""
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    think_close: tuple[int, ...]
    """Tokens that are forced where the thinking budget is spent."""

    def encode(self, request: ChatRequest, pictures: Pictures | None = None) -> list[int]:
        """The prompt's token ids, up to where the answer begins. An image's places are ids below zero."""
        ...

    def opening(self, request: ChatRequest) -> tuple[int, ...]:
        """Tokens of the answer that are not left to the model, after the prompt."""
        ...

    def parser(self, request: ChatRequest) -> Reader:
        """Reads the tokens that come after prompt and opening."""
        ...


FAMILIES: dict[str, Callable[[Vocabulary], Family]] = {
    "qwen2": Qwen2,
    "mistral": Mistral,
    "mixtral": Mistral,
    "mistral3": Mistral,
    "ministral3": Mistral,
    "mistral4": Mistral,
    "pixtral": Mistral,
    "gpt-oss": GptOss,
    "gpt_oss": GptOss,
    "qwen3moe": partial(Qwen3, default=DEFAULTS["qwen3_moe"]),
    "qwen3_moe": partial(Qwen3, default=DEFAULTS["qwen3_moe"]),
    "qwen3next": partial(Qwen3, default=DEFAULTS["qwen3_next"]),
    "qwen3_next": partial(Qwen3, default=DEFAULTS["qwen3_next"]),
    "qwen35moe": partial(Qwen3, default=DEFAULTS["qwen3_5_moe"]),
    "qwen3_5_moe": partial(Qwen3, default=DEFAULTS["qwen3_5_moe"]),
}
"""By the `general.architecture` of a GGUF file, and the `model_type` of a config.json."""


def family_of(architecture: str, vocabulary: Vocabulary) -> Family:
    """The family of a model. Raises UnsupportedModel."""
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedModel(
            f"Models of architecture {architecture!r} are not supported; those of {known} are."
        )
    return FAMILIES[architecture](vocabulary)
