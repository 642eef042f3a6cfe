"""The tokenizer of Mixtral and of other Mistral models from before 2024's tekken: SentencePiece's byte pairs.

Pieces are merged best score first, as SentencePiece does; what no piece covers becomes bytes. A blank is
written as ▁, and one is put before each text that is encoded on its own, and taken away from an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, normalizers
from tokenizers.models import BPE

from engine.byte_level import TokenStream, character_places
from engine.errors import BadModelFile
from engine.sentencepiece_file import Kind, Piece, read_pieces

BLANK = "▁"
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
NAMED = re.compile(r"\.model\.(v\d+)(?:m\d+)?$")
BEGIN, END = "<s>", "</s>"
ENCODED = (Kind.NORMAL, Kind.USER_DEFINED)
"""Pieces that text is made of."""


class SpmTokenizer:
    """Text to token ids and back. Special tokens are only ever made by name, never from ordinary text."""

    def __init__(self, path: Path, chat_template: str = ""):
        """A tokenizer.model, or one whose name ends in the version of its template, as mistral-common's do.

        Raises ModelNotFound, BadModelFile or UnsupportedModel.
        """
        pieces = read_pieces(path)
        named = NAMED.search(path.name)
        self.version = named[1] if named else None
        """Of the chat template that the file is for, where its name says so."""
        self.chat_template = chat_template
        self.special = {piece.text: n for n, piece in enumerate(pieces) if piece.kind == Kind.CONTROL}
        if END not in self.special or BEGIN not in self.special:
            raise BadModelFile(f"{path} has no tokens that begin and end a text; fetch it again.")
        self.end_ids = frozenset({self.special[END]})
        self._bytes = [_bytes_of(piece) for piece in pieces]
        bytes_known = {
            value for piece, value in zip(pieces, self._bytes, strict=True) if piece.kind == Kind.BYTE
        }
        if len(bytes_known) != 256:
            raise BadModelFile(f"{path} has no piece for each of the 256 bytes; fetch it again.")
        if not any(piece.text == BLANK and piece.kind in ENCODED for piece in pieces):
            raise BadModelFile(f"{path} has no piece for a blank; fetch it again.")
        self._fast = _fast(pieces)

    def __len__(self) -> int:
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; text that looks like a special token stays text."""
        return self._fast.encode(text, add_special_tokens=False).ids if text else []

    def encode_with_ends(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and for each the [start, end) of its characters in `text`; the blank before it has none."""
        ids = self.encode(text)
        # A ▁ of the text is one of the model's blanks to it: its token stands for one byte, not for three.
        read = f" {text}".replace(BLANK, " ")
        places = character_places(read, [len(self._bytes[token_id]) for token_id in ids])
        return ids, [(max(start - 1, 0), max(end - 1, 0)) for start, end in places]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; a special token's are its name."""
        return self._bytes[token_id]

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of the ids, less the blank at its beginning; a character cut at the border becomes U+FFFD."""
        return b"".join(self._bytes[n] for n in ids).decode("utf-8", "replace").removeprefix(" ")

    def stream(self) -> SpmStream:
        return SpmStream(self)


class SpmStream(TokenStream):
    """An answer's text; the blank that it begins with belongs to nobody."""

    def __init__(self, tokenizer: SpmTokenizer):
        super().__init__(tokenizer)
        self._begun = False

    def push(self, token_id: int) -> str:
        text = super().push(token_id)
        if not self._begun and text:
            self._begun = True
            return text.removeprefix(" ")
        return text


def _bytes_of(piece: Piece) -> bytes:
    if piece.kind == Kind.BYTE:
        found = BYTE.fullmatch(piece.text)
        return bytes([int(found[1], 16)]) if found else b""
    return piece.text.replace(BLANK, " ").encode()


def _fast(pieces: Sequence[Piece]) -> Tokenizer:
    """Merges are the ways in which two pieces make a third, by the score of that: best first."""
    known = {piece.text: n for n, piece in enumerate(pieces) if piece.kind in ENCODED}
    merges = []
    for text, n in known.items():
        ways = [
            (known[text[:at]], known[text[at:]])
            for at in range(1, len(text))
            if text[:at] in known and text[at:] in known
        ]
        merges += [(-pieces[n].score, *way) for way in sorted(ways)]
    merges.sort(key=lambda merge: merge[0])
    vocabulary = {piece.text: n for n, piece in enumerate(pieces) if piece.kind != Kind.CONTROL}
    unknown = next((piece.text for piece in pieces if piece.kind == Kind.UNKNOWN), None)
    model = BPE(
        vocab=vocabulary,
        merges=[(pieces[left].text, pieces[right].text) for _, left, right in merges],
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=True,
    )
    fast = Tokenizer(model)
    fast.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])
    return fast
