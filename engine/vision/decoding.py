"""An image file to its pixels, within limits that are checked before anything is decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from engine.errors import BadImage
from engine.request import MAX_IMAGE_BYTES

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_SIDE = 20_000
MAX_PIXELS = 40_000_000
"""160 MB decoded; a photo has 12 to 24 million."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What an EXIF orientation asks for."""


def decode(data: bytes) -> Image.Image:
    """The image in RGB, upright, transparent parts over white; of an animation its first frame.

    Raises BadImage: no PNG, JPEG, WebP or GIF, damaged, or larger than the limits above.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise BadImage(f"The image file has {len(data):,} bytes; {MAX_IMAGE_BYTES:,} is the limit.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadImage(f"The image is too large: {MAX_PIXELS:,} pixels is the limit.") from None
    except UnidentifiedImageError:
        raise BadImage("This is no image that can be read; PNG, JPEG, WebP and GIF can.") from None
    except Exception as error:  # a decoder meets a damaged header with whatever it likes
        raise _damaged(error) from None
    _check_size(*image.size)
    try:
        image.load()
        return _upright(_rgb(image), image)
    except Exception as error:
        raise _damaged(error) from None


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise BadImage(f"The image is empty: it has {width} x {height} pixels.")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadImage(
            f"The image is too large: {width:,} x {height:,} pixels; {MAX_PIXELS:,} in all and "
            f"{MAX_SIDE:,} a side is the limit."
        )


def _damaged(error: Exception) -> BadImage:
    lines = str(error).strip().splitlines()
    return BadImage(f"The image is damaged or cut off ({lines[0][:100] if lines else type(error).__name__}).")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: a plain conversion would cut off at 255
        grey = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "WHITE")
    white.paste(image, (0, 0), image)
    return white.convert("RGB")


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse the image
        return pixels
    return pixels if turn is None else pixels.transpose(turn)
