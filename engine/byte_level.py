"""Byte-level BPE through the `tokenizers` library, whatever file its tables come from."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes (the byte-level alphabet), to the byte each means."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return stand_ins | {chr(256 + n): byte for n, byte in enumerate(others)}


class Bytes(Protocol):
    def token_bytes(self, token_id: int) -> bytes: ...


class ByteLevelTokenizer:
    """Text to token ids and back. Special tokens are only ever made by name, never from ordinary text."""

    def __init__(
        self,
        tokens: Sequence[str],
        special: dict[str, int],
        merges: Sequence[tuple[str, str]],
        split: str,
        *,
        end_ids: frozenset[int],
        chat_template: str = "",
        ignore_merges: bool = False,
    ):
        """`tokens` by id, in the byte-level alphabet but for the special ones; `split` is the pattern of
        words. `ignore_merges`: a word that is a token is taken whole. Raises ValueError on merges of nothing.
        """
        self._tokens = tokens
        self.special = special
        self._special_ids = frozenset(special.values())
        self.end_ids = end_ids
        self.chat_template = chat_template
        self._bytes_of = byte_alphabet()
        vocabulary = {token: n for n, token in enumerate(tokens) if n not in self._special_ids}
        if any("".join(merge) not in vocabulary for merge in merges):
            raise ValueError("merges that make no token of its vocabulary")
        model = BPE(
            vocab=vocabulary,
            merges=list(merges),
            fuse_unk=False,
            byte_fallback=False,
            ignore_merges=ignore_merges,
        )
        fast = Tokenizer(model)
        # No normaliser: some published tokenizer.json compose characters (NFC), but a file's text must come
        # back as it is. llama.cpp does the same.
        fast.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), behavior="isolated"),
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


def character_places(text: str, lengths: Iterable[int]) -> list[tuple[int, int]]:
    """The [start, end) of characters for tokens of so many bytes each, which together are `text` in UTF-8.

    A character of several tokens belongs to each of them; a token without bytes is at (0, 0).
    """
    owner = [n for n, character in enumerate(text) for _ in range(len(_utf8(character)))]
    ends = itertools.accumulate(lengths, initial=0)
    return [
        (owner[start], owner[end - 1] + 1) if end > start else (0, 0)
        for start, end in itertools.pairwise(ends)
    ]


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")  # half a pair becomes U+FFFD, three bytes as well


class TokenStream:
    """Decodes token by token, holding back the bytes of a character that is not whole yet."""

    def __init__(self, tokenizer: Bytes):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)
