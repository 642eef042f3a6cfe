"""A SentencePiece model (tokenizer.model): its pieces, read from the protocol buffer that the file is.

Format: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from engine.errors import BadModelFile, ModelNotFound, UnsupportedModel

MAX_BYTES = 4 << 20
"""Mistral's own have 0.6 MB."""
MAX_PIECE = 256
"""Bytes. All cuts of a piece are tried for merges, so that a long one would take for ever; Mistral's have 48
at most."""
PIECES, TRAINER, NORMALISER = 1, 2, 3
"""Fields of the whole ..."""
TEXT, SCORE, KIND = 1, 2, 3
"""... of a piece, ..."""
MODEL_TYPE, BPE = 3, 2
DUMMY_PREFIX, EXTRA_WHITESPACE = 3, 4
"""... of the trainer's and the normaliser's settings."""


FILE = re.compile(r"tokenizer\.model(?:\.v(\d{1,3})(?:m\d{1,3})?)?", re.ASCII)
"""As model folders name it: `tokenizer.model`, or with the version of the template that it is for."""


class Kind(IntEnum):
    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    kind: Kind


def models_in(folder: Path) -> list[Path]:
    """A folder's tokenizers of this kind, that of the newest template last."""
    beside = (file for file in folder.glob("tokenizer.model*") if file.is_file())
    named = ((FILE.fullmatch(file.name), file) for file in beside)
    versions = sorted((int(found[1] or 0), file) for found, file in named if found)
    return [file for _, file in versions]


def read_pieces(path: Path) -> list[Piece]:
    """By their ids. Raises ModelNotFound, BadModelFile, or UnsupportedModel for a model that is no BPE."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadModelFile(f"{path} is too large to be a tokenizer; fetch it again.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelNotFound(f"There is no tokenizer at {path}.") from None
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read ({error.strerror}).") from None
    try:
        fields = list(_fields(data))
        pieces = [_piece(value) for number, value in fields if number == PIECES and isinstance(value, bytes)]
        trainer, normaliser = (_settings(fields, number) for number in (TRAINER, NORMALISER))
    except (ValueError, IndexError):
        raise BadModelFile(f"{path} is no usable SentencePiece model; fetch it again.") from None
    if trainer.get(MODEL_TYPE, 1) != BPE or not normaliser.get(DUMMY_PREFIX, 1):
        raise UnsupportedModel(
            f"{path} is no tokenizer of Mistral's kind: byte-pair pieces with a blank first."
        )
    if normaliser.get(EXTRA_WHITESPACE, 1):
        raise UnsupportedModel(f"{path} drops blanks, so that text would not come back as it is.")
    if wrong := _wrong(pieces):
        raise BadModelFile(f"{path} is no usable SentencePiece model: {wrong}; fetch it again.")
    return pieces


def _wrong(pieces: list[Piece]) -> str | None:
    """What makes them no vocabulary, if anything does."""
    if not pieces:
        return "it has no pieces"
    longest = max(len(piece.text.encode()) for piece in pieces)
    if longest > MAX_PIECE:
        return f"it has a piece of {longest:,} bytes, and {MAX_PIECE} are the most"
    if len({piece.text for piece in pieces}) != len(pieces):
        return "it has a piece twice"
    return None


def _piece(data: bytes) -> Piece:
    told = dict(_fields(data))
    text, score = told.get(TEXT), told.get(SCORE, b"\0\0\0\0")
    if not isinstance(text, bytes) or not text or not isinstance(score, bytes) or len(score) != 4:
        raise ValueError
    (number,) = struct.unpack("<f", score)
    if not math.isfinite(number):
        raise ValueError
    return Piece(text.decode("utf-8"), number, Kind(told.get(KIND, Kind.NORMAL)))


def _settings(fields: list[tuple[int, int | bytes]], which: int) -> dict[int, int | bytes]:
    return {
        number: value
        for field, inner in fields
        if field == which and isinstance(inner, bytes)
        for number, value in _fields(inner)
    }


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: a whole number, or bytes."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _number(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _number(data, at)
        else:
            length = {1: 8, 5: 4}[wire] if wire in (1, 5) else -1
        if length < 0 or at + length > len(data):
            raise ValueError
        yield number, data[at : at + length]
        at += length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError
