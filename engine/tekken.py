"""Mistral's own tokenizer file (tekken.json), read by mistral-common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.byte_level import TokenStream, character_places
from engine.errors import BadModelFile, ModelNotFound
from engine.vision.grid import ImageGrid

PIECE = 50_000
"""Characters encoded together where the whole has a run of blanks beyond the regex engine's stack."""


class TekkenTokenizer:
    """Text to token ids and back. Special tokens are only ever made by name, never from ordinary text."""

    chat_template = ""

    def __init__(self, path: Path):
        """Raises ModelNotFound or BadModelFile."""
        if not path.is_file():
            raise ModelNotFound(f"There is no tokenizer at {path}.")
        # Here, as it takes a second that other models need not spend.
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        try:
            self._inner = Tekkenizer.from_file(path)
        except Exception as error:  # its reader asserts, and takes a file's word for much else
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise BadModelFile(
                f"{path} is no usable tekken file ({lines[0][:200]}); fetch it again."
            ) from None
        self.version = self._inner.version.value
        """Of the chat template that the file is for: "v3" to "v15"."""
        self.special: dict[str, int] = dict(self._inner._special_tokens_reverse_vocab)
        self.end_ids = frozenset({self._inner.eos_id})

    @property
    def image_grid(self) -> ImageGrid | None:
        """How images are divided, where the file says so."""
        image: Any = self._inner.image
        if image is None:
            return None
        return ImageGrid(image.image_patch_size, image.max_image_size, image.spatial_merge_size)

    def __len__(self) -> int:
        return self._inner.n_words

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; text that looks like a special token stays text."""
        try:
            return self._inner.encode(text, bos=False, eos=False)
        except ValueError:
            pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
            return [
                token_id for piece in pieces for token_id in self._inner.encode(piece, bos=False, eos=False)
            ]

    def encode_with_ends(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and for each the [start, end) of its characters in `text`."""
        ids = self.encode(text)
        return ids, character_places(text, [len(self.token_bytes(token_id)) for token_id in ids])

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; a special token's are its name."""
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy

        return self._inner.id_to_byte_piece(token_id, SpecialTokenPolicy.KEEP)

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of the ids; a character cut at the border becomes U+FFFD."""
        return b"".join(self.token_bytes(token_id) for token_id in ids).decode("utf-8", "replace")

    def stream(self) -> TokenStream:
        return TokenStream(self)
