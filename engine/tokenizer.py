"""The tokenizer of a GGUF file, rebuilt for the `tokenizers` library from the file's own tables."""

from __future__ import annotations

import codecs

from tokenizers import Regex, decoders, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import BPE

from engine.errors import BadModelFile, UnsupportedModel
from engine.gguf_file import GgufFile

# How text is split before merges, by `tokenizer.ggml.pre`: the published tokenizer.json's pattern.
SPLITS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
CONTROL, USER_DEFINED = 3, 4


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes (the byte-level alphabet), to the byte each means."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return stand_ins | {chr(256 + n): byte for n, byte in enumerate(others)}


class Tokenizer:
    """Text to token ids and back. Special tokens are only ever made by name, never from ordinary text."""

    def __init__(self, file: GgufFile):
        metadata = file.metadata
        model, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
        if model != "gpt2" or split not in SPLITS:
            raise UnsupportedModel(f"{file.path} has a tokenizer of kind {model}/{split}, not supported yet.")
        self._tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        kinds: list[int] = metadata["tokenizer.ggml.token_type"]
        self.special: dict[str, int] = {
            token: n for n, token in enumerate(self._tokens) if kinds[n] in (CONTROL, USER_DEFINED)
        }
        self._special_ids = frozenset(self.special.values())
        self.end_ids: frozenset[int] = frozenset(
            int(metadata[key]) for key in ("tokenizer.ggml.eos_token_id",) if key in metadata
        )
        self.chat_template: str = metadata.get("tokenizer.chat_template", "")
        self._bytes_of = _byte_alphabet()
        merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
        vocabulary = {token: n for n, token in enumerate(self._tokens) if n not in self._special_ids}
        if any("".join(merge) not in vocabulary for merge in merges):
            raise BadModelFile(
                f"{file.path} has merges that make no token of its vocabulary; fetch it again."
            )
        fast = FastTokenizer(BPE(vocab=vocabulary, merges=merges, fuse_unk=False, byte_fallback=False))
        # No normaliser: the published tokenizer.json composes characters (NFC), but a file's text must come
        # back as it is. llama.cpp does the same.
        fast.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SPLITS[split]), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        fast.decoder = decoders.ByteLevel()
        self._fast = fast

    def __len__(self) -> int:
        return len(self._tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; text that looks like a special token stays text."""
        return self._fast.encode(text, add_special_tokens=False).ids

    def encode_with_ends(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and for each the [start, end) of its characters in `text`."""
        encoding = self._fast.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; a special token's are its name."""
        token = self._tokens[token_id]
        if token_id in self._special_ids:
            return token.encode()
        return bytes(self._bytes_of[character] for character in token)

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of the ids; a character cut at the border becomes U+FFFD."""
        return b"".join(self.token_bytes(token_id) for token_id in ids).decode("utf-8", "replace")

    def stream(self) -> TokenStream:
        return TokenStream(self)


class TokenStream:
    """Decodes token by token, holding back the bytes of a character that is not whole yet."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)
