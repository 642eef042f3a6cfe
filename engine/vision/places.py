"""Ids below zero, which stand for the places of images in a prompt.

A prompt's image tokens are all the same id, so that two images of one size would look like the same prefix
to the cache. So every place of every image has an id of its own: equal ids are then equal input, and a prefix
with an image in it can be reused.
"""

from __future__ import annotations

PLACES = 1 << 16
"""More than any image has."""


def place(number: int, n: int) -> int:
    """The id that stands for the n-th place (row by row) of the picture with this number."""
    return -1 - (number * PLACES + n)


def place_of(token_id: int) -> tuple[int, int]:
    """The number of the picture and its place that an id below zero stands for."""
    return divmod(-1 - token_id, PLACES)
