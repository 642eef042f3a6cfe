"""Pixel values as the vision tower was trained on them.

mistral-common resizes with OpenCV's INTER_CUBIC in float32: four taps a side, a = -0.75, no smoothing where
it shrinks, nothing cut off at 0 and 255. That is done here with numpy, as Pillow's bicubic is another one
(a = -0.5, smoothing): on a photo-like image halved in size the two differ by 0.03 on average and 0.7 at most
after the normalisation (tests/engine/vision/test_pixels.py). OpenCV itself was not at hand: torch's bicubic,
which has its coefficients, agrees with this within 0.0002.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
"""Of CLIP's training images, RGB."""
SHARPNESS = -0.75


def pixel_values(image: Image.Image, width: int, height: int) -> np.ndarray:
    """float32 [3, height, width]: resized, then normalised by channel."""
    array = np.asarray(image)
    across = (1, width, array.shape[0] * width)
    down = (0, height, array.shape[1] * height)
    for axis, size, _ in sorted((across, down), key=lambda step: step[2]):  # the smaller one between first
        array = resized(array, axis, size)
    values = (array / np.float32(255.0) - MEAN) / STD
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def resized(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """float32, `size` long along `axis`: cubic convolution between pixel centres, the border repeated."""
    length = array.shape[axis]
    if length == size:
        return array.astype(np.float32)
    centres = (np.arange(size) + 0.5) * (length / size) - 0.5
    first = np.floor(centres)
    shape = [1] * array.ndim
    shape[axis] = size
    total = np.zeros([size if n == axis else each for n, each in enumerate(array.shape)], dtype=np.float32)
    for tap, weights in zip((-1, 0, 1, 2), _weights(centres - first), strict=True):
        source = np.clip(first.astype(np.int64) + tap, 0, length - 1)
        total += array.take(source, axis=axis) * weights.astype(np.float32).reshape(shape)
    return total


def _weights(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the four pixels around a place `x` behind the second: cubic convolution (Keys, 1981)."""
    a = SHARPNESS
    outer = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    opposite = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    return outer, inner, opposite, 1 - outer - inner - opposite
