"""Image files of every kind become upright RGB; what is too large or damaged is refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import BadImage
from engine.request import MAX_IMAGE_BYTES
from engine.vision import decoding
from engine.vision.decoding import decode
from tests.engine.vision.image_files import photo, png, saved

PHOTO = photo(40, 30)


@pytest.mark.parametrize(
    ("kind", "options", "close"),
    [("PNG", {}, 0), ("WEBP", {"lossless": True}, 0), ("JPEG", {"quality": 95}, 12), ("WEBP", {}, 30)],
)
def test_formats(kind: str, options: dict, close: float) -> None:
    image = decode(saved(PHOTO, kind, **options))

    assert (image.mode, image.size) == ("RGB", (40, 30))
    difference = np.abs(np.asarray(image, dtype=int) - np.asarray(PHOTO, dtype=int))
    assert difference.mean() <= close


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert decode(data).getpixel((3, 3)) == (255, 0, 0)


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 200, 128))
    decoded = decode(saved(image, "PNG"))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 0)) == pytest.approx((127, 127, 227), abs=1)
    grey = decode(saved(image.convert("LA"), "PNG"))
    assert grey.getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    shown = decode(saved(palette, "GIF", transparency=0))
    assert [shown.getpixel((n, 0)) for n in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    grey = np.array([[0, 255, 256, 32768, 65535]], dtype=">u2")
    data = png(5, 1, depth=16, colour=0, data=b"\0" + grey.tobytes())
    assert [decode(data).getpixel((n, 0)) for n in range(5)] == [(n,) * 3 for n in (0, 0, 1, 128, 255)]
    colours = np.array([[65535, 0, 32768]], dtype=">u2")
    assert decode(png(1, 1, depth=16, data=b"\0" + colours.tobytes())).getpixel((0, 0)) == (255, 0, 128)


def test_cmyk_and_grey_and_one_bit() -> None:
    red = decode(saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"))
    assert red.getpixel((1, 1)) == pytest.approx((254, 0, 0), abs=3)
    assert decode(saved(Image.new("L", (4, 4), 77), "PNG")).getpixel((1, 1)) == (77, 77, 77)
    assert decode(saved(Image.new("1", (4, 4), 1), "PNG")).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_rotated_image_is_put_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    turn = decoding.TURNS.get(orientation)
    inverse = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
    inverse |= {there: back for back, there in inverse.items()}
    stored = PHOTO if turn is None else PHOTO.transpose(inverse.get(turn, turn))

    assert decode(saved(stored, kind, exif=exif, lossless=True)).tobytes() == PHOTO.tobytes()


def test_a_damaged_exif_block_is_passed_over() -> None:
    data = saved(PHOTO, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).tobytes() == PHOTO.tobytes()


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (20_001, 1), (8_000, 8_000), (2**31 - 1, 1)])
def test_a_bomb_is_refused_before_it_is_decoded(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    for colour in (0, 2, 6):
        with pytest.raises(BadImage, match=r"^The image is too large: .*limit\.$"):
            decode(png(width, height, colour=colour, data=b"\0" * 1000))


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "WEBP"])
def test_bombs_of_other_kinds(kind: str) -> None:
    data = bytearray(saved(Image.new("RGB", (8, 8)), kind, lossless=True))
    if kind == "GIF":
        data[6:10] = b"\xff\xff\xff\xff"
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    else:
        at = data.index(b"VP8L") + 9
        data[at : at + 4] = (0x3FFF | 0x3FFF << 14).to_bytes(4, "little")
    with pytest.raises(BadImage):
        decode(bytes(data))


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0)])
def test_an_empty_image_is_refused(width: int, height: int) -> None:
    with pytest.raises(BadImage):
        decode(png(width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    data = saved(photo(200, 200), kind)
    for length in (len(data) // 10, len(data) // 2, len(data) - 30):
        with pytest.raises(BadImage):
            decode(data[:length])


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"%PDF-1.4", b"<svg width='9'/>", saved(PHOTO, "BMP"), saved(PHOTO, "TIFF")],
)
def test_what_is_no_image_of_these_kinds_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage, match="PNG, JPEG, WebP and GIF"):
        decode(data)


def test_a_file_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadImage, match="limit"):
        decode(bytes(MAX_IMAGE_BYTES + 1))


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), data=st.data())
def test_a_damaged_file_ends_in_a_sentence_or_an_image(kind: str, data: st.DataObject) -> None:
    file = bytearray(saved(PHOTO, kind))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(file)).mode == "RGB"
    except BadImage as error:
        assert str(error).endswith((".", ".)")) and "\n" not in str(error)
