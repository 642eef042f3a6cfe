"""The tokenizer of a GGUF file, rebuilt for the `tokenizers` library from the file's own tables."""

from __future__ import annotations

from engine.byte_level import ByteLevelTokenizer, byte_alphabet
from engine.errors import BadModelFile, UnsupportedModel
from engine.gguf_file import GgufFile

_byte_alphabet = byte_alphabet
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{ending}"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{ending}"
)
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
# How text is split before merges, by `tokenizer.ggml.pre`: the published tokenizer.json's (or tekken.json's)
# pattern, where llama.cpp has one that is equal for its own regex engine.
SPLITS = {
    "qwen2": _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen35": _ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": _CASED.replace("{ending}", "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt-4o": _CASED.replace("{ending}", _ENDINGS + "?")
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
WHOLE_WORDS = frozenset({"tekken"})
"""Kinds whose words are taken whole where they are a token, without merging."""
CONTROL, USER_DEFINED = 3, 4


class Tokenizer(ByteLevelTokenizer):
    """Text to token ids and back. Special tokens are only ever made by name, never from ordinary text."""

    def __init__(self, file: GgufFile):
        metadata = file.metadata
        model, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
        if model != "gpt2" or split not in SPLITS:
            raise UnsupportedModel(f"{file.path} has a tokenizer of kind {model}/{split}, not supported yet.")
        tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        kinds: list[int] = metadata["tokenizer.ggml.token_type"]
        try:
            super().__init__(
                tokens,
                {token: n for n, token in enumerate(tokens) if kinds[n] in (CONTROL, USER_DEFINED)},
                [_pair(merge) for merge in metadata["tokenizer.ggml.merges"]],
                SPLITS[split],
                end_ids=frozenset(
                    int(metadata[key]) for key in ("tokenizer.ggml.eos_token_id",) if key in metadata
                ),
                chat_template=metadata.get("tokenizer.chat_template", ""),
                ignore_merges=split in WHOLE_WORDS,
            )
        except ValueError:
            raise BadModelFile(
                f"{file.path} has merges that make no token of its vocabulary; fetch it again."
            ) from None


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
