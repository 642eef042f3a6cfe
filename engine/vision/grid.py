"""How an image is divided into places of a prompt: as mistral-common's `ImageEncoder` does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageGrid:
    """A model's patches: `patch` pixels a side, `merge` by `merge` of them become one place of the prompt."""

    patch: int
    longest: int
    """Pixels; a longer side is scaled down to it, the other one in proportion."""
    merge: int = 1

    def places(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of an image of so many pixels; each is at least one."""
        ratio = max(width / self.longest, height / self.longest)
        if ratio > 1:
            width, height = max(round(width / ratio), 1), max(round(height / ratio), 1)
        return -(-width // self.side), -(-height // self.side)

    def pixels(self, columns: int, rows: int) -> tuple[int, int]:
        """Width and height that the image is resized to: every place is filled."""
        return columns * self.side, rows * self.side

    @property
    def side(self) -> int:
        """Pixels a side of one place."""
        return self.patch * self.merge


def prompt_tokens(columns: int, rows: int) -> int:
    """Tokens an image takes: its places, and one that ends each row."""
    return (columns + 1) * rows
