"""Grid and pixel values: those of mistral-common, as far as they can be had without OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.image import (
    DATASET_MEAN,
    DATASET_STD,
    ImageConfig,
    ImageEncoder,
    SpecialImageIDs,
    normalize,
)
from PIL import Image

from engine.errors import ImageMissing
from engine.vision.album import Album
from engine.vision.decoding import decode
from engine.vision.grid import ImageGrid, prompt_tokens
from engine.vision.pixels import pixel_values
from engine.vision.places import place_of
from tests.engine.vision.image_files import photo, saved

SMALL_4 = ImageGrid(patch=14, longest=1540, merge=2)
PIXTRAL = ImageGrid(patch=16, longest=1024)


@pytest.mark.parametrize(
    ("width", "height", "columns", "rows", "tokens"),
    [(1024, 768, 37, 28, 1064), (4000, 3000, 55, 42, 2352), (9000, 9000, 55, 55, 3080), (1, 1, 1, 1, 2)],
)
def test_the_published_examples(width: int, height: int, columns: int, rows: int, tokens: int) -> None:
    assert SMALL_4.places(width, height) == (columns, rows)
    assert prompt_tokens(columns, rows) == tokens


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    grid=st.sampled_from([SMALL_4, PIXTRAL, ImageGrid(14, 1540)]),
)
def test_the_grid_is_mistral_commons(width: int, height: int, grid: ImageGrid) -> None:
    class Sized:
        size = (width, height)

    config = ImageConfig(grid.patch, grid.longest, grid.merge)
    reference = ImageEncoder(config, SpecialImageIDs(10, 12, 13))
    assert grid.places(width, height) == reference._image_to_num_tokens(Sized())  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "height"), [(90, 60), (300, 140), (56, 84), (1, 1), (3, 200)])
def test_cubic_resizing_is_opencvs(width: int, height: int) -> None:
    """torch's bicubic, without smoothing, has OpenCV's coefficients (a = -0.75) and pixel centres."""
    image = photo(width, height)
    new_width, new_height = SMALL_4.pixels(*SMALL_4.places(width, height))
    array = torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(
        array, size=(new_height, new_width), mode="bicubic", align_corners=False, antialias=False
    )[0]
    expected = normalize(expected.permute(1, 2, 0).numpy().copy(), DATASET_MEAN, DATASET_STD)

    values = pixel_values(image, new_width, new_height)

    assert (values.dtype, values.shape) == (np.float32, (3, new_height, new_width))
    np.testing.assert_allclose(values, expected, atol=2e-4)


def test_shrinking_is_opencvs_too() -> None:
    image = photo(700, 400)
    array = torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(array, size=(112, 196), mode="bicubic", align_corners=False)[0]
    expected = normalize(expected.permute(1, 2, 0).numpy().copy(), DATASET_MEAN, DATASET_STD)
    np.testing.assert_allclose(pixel_values(image, 196, 112), expected, atol=2e-4)


def test_an_image_that_fits_is_only_normalised() -> None:
    image = photo(56, 28)
    expected = normalize(np.asarray(image, dtype=np.float32).copy(), DATASET_MEAN, DATASET_STD)
    np.testing.assert_allclose(pixel_values(image, 56, 28), expected, atol=1e-6)


def test_places_name_their_picture() -> None:
    album = Album(SMALL_4)
    name, picture = album.add(saved(photo(60, 30), "PNG"))
    other, second = album.add(saved(photo(60, 30, seed=1), "PNG"))

    assert (picture.columns, picture.rows, picture.tokens) == (3, 2, 8)
    places = [shown.place(n) for shown in (picture, second) for n in range(6)]
    assert len(set(places)) == 12 and max(places) < 0
    assert [place_of(place) for place in places] == [(each, n) for each in (0, 1) for n in range(6)]
    assert album.of([other, name, other]) == {name: picture, other: second}
    assert picture.pixel_values().shape == (3, 56, 84)


def test_the_album_has_a_budget_and_a_number_is_never_given_twice() -> None:
    files = [saved(photo(60, 30, seed=seed), "PNG") for seed in range(3)]
    album = Album(SMALL_4, budget=len(files[0]) + len(files[1]) + 10)
    (first, _), (second, _) = (album.add(file) for file in files[:2])
    album.of([first])
    third, picture = album.add(files[2])

    assert picture.number == 2
    assert set(album.of([first, third])) == {first, third}
    with pytest.raises(ImageMissing, match="show it again"):
        album.of([second])
    assert album.add(files[1])[1].number == 1


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    """A small random Pixtral vision tower, and the projector that merges its patches."""
    from transformers import PixtralVisionConfig, PixtralVisionModel

    torch.manual_seed(0)
    config = PixtralVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, patch_size=14,
        image_size=1540,
    )  # fmt: skip
    return PixtralVisionModel(config).eval()


@torch.no_grad()
def test_the_image_path_is_that_of_transformers(tower: torch.nn.Module) -> None:
    """transformers' tower takes our pixel values as its own processor's, alone and in a padded batch."""
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    album = Album(SMALL_4)
    shown = [album.add(saved(photo(width, height), "PNG"))[1] for width, height in ((84, 56), (30, 100))]
    ours = [torch.from_numpy(picture.pixel_values()) for picture in shown]
    sizes = [tuple(values.shape[1:]) for values in ours]
    padded = torch.zeros(2, 3, max(h for h, _ in sizes), max(w for _, w in sizes))
    for n, values in enumerate(ours):
        padded[n, :, : values.shape[1], : values.shape[2]] = values
    together = tower(padded, image_sizes=torch.tensor(sizes)).last_hidden_state[0]
    alone = [
        tower(values[None], image_sizes=torch.tensor([size])).last_hidden_state[0]
        for values, size in zip(ours, sizes, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert len(together) == sum(picture.rows * picture.columns * 4 for picture in shown)

    # where nothing is resized, the values are those of transformers' own processor
    processor = PixtralImageProcessorPil(patch_size={"height": 28, "width": 28}, size={"longest_edge": 1540})
    theirs = processor(decode(shown[0].data), return_tensors="pt")
    torch.testing.assert_close(ours[0], theirs["pixel_values"][0], atol=1e-5, rtol=1e-5)
    assert tuple(theirs["image_sizes"][0].tolist()) == sizes[0]


def test_how_far_pillows_bicubic_is() -> None:
    """Why it is not used: see engine/vision/pixels.py."""
    image = photo(392, 224)
    ours = pixel_values(image, 196, 112)
    pillow = pixel_values(image.resize((196, 112), Image.Resampling.BICUBIC), 196, 112)
    difference = np.abs(ours - pillow)
    print(f"mean {difference.mean():.3f}, largest {difference.max():.2f}")
    assert difference.mean() > 0.01
