"""What prompts are made of, so that no text ever becomes a special token by looking like one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.families.vocabulary import Vocabulary


@dataclass(frozen=True)
class Special:
    """A token by its name: never made from text that a user or a tool wrote."""

    name: str


Part = str | Special | tuple[int, ...]
"""A prompt is made of ordinary text, special tokens, and ids that are fed back as they were."""


def encode_parts(parts: Iterable[Part], vocabulary: Vocabulary) -> list[int]:
    """The ids of all parts. Neighbouring texts are encoded as one, or merges across them would be lost."""
    ids: list[int] = []
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        ids.extend(vocabulary.encode(text) if text else [])
        ids.extend(special_ids(part, vocabulary) if isinstance(part, Special) else part)
        text = ""
    return ids + (vocabulary.encode(text) if text else [])


def render_parts(parts: Iterable[Part], vocabulary: Vocabulary) -> str:
    """The parts as text, special tokens by their names, as a chat template writes them."""
    texts = [
        part if isinstance(part, str)
        else part.name if isinstance(part, Special)
        else vocabulary.decode(part)
        for part in parts
    ]  # fmt: skip
    return "".join(texts)


def special_ids(part: Special, vocabulary: Vocabulary) -> list[int]:
    """One id; more where the vocabulary has no token of that name and the family writes it as text."""
    known = vocabulary.special.get(part.name)
    return vocabulary.encode(part.name) if known is None else [known]
