"""The images that an engine process was shown, and the ids that stand for their places in a prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.errors import ImageMissing
from engine.vision.decoding import decode
from engine.vision.grid import ImageGrid, prompt_tokens
from engine.vision.pixels import pixel_values
from engine.vision.places import place

BUDGET = 256 << 20
"""Bytes of image files that are kept; the least recently used go first."""


@dataclass(frozen=True)
class Picture:
    """One image as the model will see it."""

    number: int
    """Of this content in this process; never given to another."""
    width: int
    height: int
    """Pixels of the file, upright."""
    columns: int
    rows: int
    grid: ImageGrid
    data: bytes = field(repr=False)
    """The file; pixel values are made when they are needed, which is once where the prefix is cached."""

    @property
    def tokens(self) -> int:
        return prompt_tokens(self.columns, self.rows)

    def place(self, n: int) -> int:
        """The id, below zero, of the n-th place: row by row, from 0 to rows * columns - 1."""
        return place(self.number, n)

    def pixel_values(self) -> np.ndarray:
        """float32 [3, rows * side, columns * side], normalised; side is patch * merge.

        With a batch dimension before, and `image_sizes=[(height, width)]` of this array, these are the
        `pixel_values` of transformers' Pixtral tower.
        """
        return pixel_values(decode(self.data), *self.grid.pixels(self.columns, self.rows))


class Album:
    """Keeps what was shown. Not thread safe."""

    def __init__(self, grid: ImageGrid, budget: int = BUDGET):
        self._grid, self._budget = grid, budget
        self._numbers: dict[str, int] = {}
        self._pictures: dict[str, Picture] = {}  # the most recently used is last

    def add(self, data: bytes) -> tuple[str, Picture]:
        """Look at an image file and keep it; its hash names it from now on. Raises BadImage."""
        name = hashlib.sha256(data).hexdigest()
        if name not in self._pictures:
            width, height = decode(data).size
            columns, rows = self._grid.places(width, height)
            number = self._numbers.setdefault(name, len(self._numbers))
            self._pictures[name] = Picture(number, width, height, columns, rows, self._grid, data)
        picture = self._use(name)
        while sum(len(kept.data) for kept in self._pictures.values()) > self._budget:
            self._pictures.pop(next(iter(self._pictures)))
        return name, picture

    def of(self, names: Iterable[str]) -> dict[str, Picture]:
        """The named pictures. Raises ImageMissing where one was never shown, or let go since."""
        names = list(dict.fromkeys(names))
        if any(name not in self._pictures for name in names):
            raise ImageMissing("The engine does not have an image of this conversation; show it again.")
        return {name: self._use(name) for name in names}

    def _use(self, name: str) -> Picture:
        picture = self._pictures[name] = self._pictures.pop(name)
        return picture
