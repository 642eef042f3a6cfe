"""Images in a prompt: transformers' tower and projector, the places of tokens, and prefixes with images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import EngineError, UnsupportedModel
from engine.hosted import images, needs_of
from engine.hosted.images import KEPT_IMAGES, Images, kept_bytes
from engine.known_configs import SMALL_4
from engine.prefix_cache import common_prefix
from engine.vision.album import BUDGET
from engine.vision.places import PLACES, place, place_of
from tests.engine.hosted.tiny import CONFIGS, HIDDEN, IMAGE_TOKEN, load, tokens

Reference = Callable[..., Any]
SIDE = 8
"""Patches of 4 pixels, merged 2 by 2."""


class Painted:
    """A picture of noise."""

    def __init__(self, rows: int, columns: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.pixels = torch.randn(3, rows * SIDE, columns * SIDE, generator=generator)
        self.looks = 0

    def pixel_values(self) -> np.ndarray:
        self.looks += 1
        return self.pixels.numpy()


def places(number: int, count: int) -> list[int]:
    return [place(number, n) for n in range(count)]


def prompt(images: list[list[int]]) -> list[int]:
    """Text, an image, text, an image …, text."""
    ids = tokens(5)
    for n, image in enumerate(images):
        ids += [*image, *tokens(4, seed=n)]
    return ids


@pytest.mark.parametrize("name", ["mistral3", "mistral3 over mistral4"])
@pytest.mark.parametrize("layer", [-1, -2, 1])
def test_what_an_image_says_is_what_transformers_hears(
    name: str, layer: int, reference: Reference, device: str, monkeypatch: pytest.MonkeyPatch
):
    theirs = reference(name)
    model = load(name, theirs, device)
    for config in (theirs.config, theirs.model.config, model._model.model.config):
        monkeypatch.setattr(config, "vision_feature_layer", layer)
    shown = [Painted(3, 5, seed=0), Painted(2, 1, seed=1)]
    padded = torch.zeros(2, 3, 3 * SIDE, 5 * SIDE)
    for row, each in enumerate(shown):
        padded[row, :, : each.pixels.shape[1], : each.pixels.shape[2]] = each.pixels
    with torch.inference_mode():
        wanted = theirs(
            input_ids=torch.tensor([prompt([[IMAGE_TOKEN] * 15, [IMAGE_TOKEN] * 2])]),
            pixel_values=padded,
            image_sizes=torch.tensor([each.pixels.shape[1:] for each in shown]),
            use_cache=False,
        ).logits[0]

    model.see({7: shown[0], 8: shown[1]})
    ids, cache = prompt([places(7, 15), places(8, 2)]), model.new_cache()
    got = torch.cat([model.prefill(ids[:9], cache), model.prefill(ids[9:], cache)])
    torch.testing.assert_close(model.logits(got), wanted, rtol=0, atol=1e-4)
    assert [each.looks for each in shown] == [1, 1], "once, though it was fed in two parts"


def test_two_images_of_one_size_share_no_prefix():
    assert common_prefix(prompt([places(0, 3)]), prompt([places(1, 3)])) == 5
    assert place(0, 0) == -1
    assert [place_of(place(*each)) for each in ((0, 0), (3, PLACES - 1))] == [(0, 0), (3, PLACES - 1)]


def test_an_image_is_not_looked_at_where_the_cache_holds_it(reference: Reference):
    model, shown = load("mistral3", reference("mistral3")), Painted(1, 2, seed=0)
    cache = model.new_cache()
    model.see({0: shown})
    assert shown.looks == 0
    model.prefill(prompt([places(0, 2)]), cache)
    model.see({})
    model.prefill([20, 21], cache)
    assert shown.looks == 1


def test_a_cancel_in_the_tower_leaves_the_cache_whole(reference: Reference):
    model = load("mistral3", reference("mistral3"))
    model.see({0: Painted(1, 2, seed=0)})
    cache = model.new_cache()
    calls = iter(range(99))

    def stop_in_the_second_layer() -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.prefill(places(0, 2), cache, stop_in_the_second_layer)
    assert cache.ids == []
    assert model.prefill(places(0, 2), cache).shape == (2, HIDDEN)


def test_an_image_that_was_not_shown_is_one_sentence(reference: Reference):
    model = load("mistral3", reference("mistral3"))
    model.see({0: Painted(1, 2, seed=0)})
    for ids, words in ((places(1, 1), "not at hand"), (places(0, 3), "more places")):
        with pytest.raises(EngineError, match=f"{words}.*; send it again"):
            model.prefill(ids, model.new_cache())


@pytest.mark.parametrize("shape", [(3, SIDE, SIDE + 1), (3, SIDE + 4, SIDE), (3, 0, SIDE), (SIDE, SIDE)])
def test_an_image_that_is_not_scaled_is_refused(shape: tuple[int, ...], reference: Reference):
    model, shown = load("mistral3", reference("mistral3")), Painted(1, 1, seed=0)
    shown.pixels = torch.zeros(shape)
    model.see({0: shown})
    with pytest.raises(EngineError, match="multiples of 8 pixels"):
        model.prefill(places(0, 1), model.new_cache())


def test_a_model_without_vision_says_so(reference: Reference):
    model = load("mistral", reference("mistral"))
    assert not model.sees
    model.see({})
    with pytest.raises(UnsupportedModel, match="without vision"):
        model.see({0: Painted(1, 1, seed=0)})


def test_embeddings_are_let_go_of_and_made_again():
    kept = Images(lambda pixels, check: pixels[0, :, :1].expand(-1, HIDDEN), budget=3 * SIDE * HIDDEN * 4)
    shown = {n: Painted(1, 1, seed=n) for n in range(4)}
    kept.show(shown)
    for number in (0, 1, 2, 0, 3, 0, 1):
        row = kept.rows([place(number, 2)], lambda: None)
        assert torch.equal(row, shown[number].pixels[0, 2, :1].expand(1, HIDDEN))
    assert [shown[n].looks for n in range(4)] == [1, 2, 1, 1], "1 was the one not used for longest"


def test_the_tower_takes_some_patches_at_a_time(reference: Reference, monkeypatch: pytest.MonkeyPatch):
    model, shown = load("mistral3", reference("mistral3")), Painted(3, 5, seed=0)
    model.see({0: shown})
    whole = model.prefill(places(0, 15), model.new_cache())
    sizes: list[int] = []
    for layer in model._model.model.vision_tower.transformer.layers:
        layer.feed_forward.gate_proj.register_forward_pre_hook(lambda _, told: sizes.append(told[0].shape[1]))
    monkeypatch.setattr(images, "PATCHES_AT_ONCE", 25)
    other = Painted(3, 5, seed=0)
    model.see({1: other})
    parts = model.prefill(places(1, 15), model.new_cache())
    assert sizes == [25, 25, 10] * len(model._model.model.vision_tower.transformer.layers)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-4)


def test_a_model_that_sees_has_memory_for_it(reference: Reference):
    """Small 4's largest image has 12,100 patches, which become 3,025 places."""
    small = needs_of(SMALL_4, "Small 4", precision="int8")
    one = 3025 * 4096 * 4
    on_its_way = small.vision - KEPT_IMAGES * one - BUDGET
    assert 520e6 < on_its_way < 600e6  # 520 MB were seen
    assert needs_of(SMALL_4["text_config"], "Small 4", precision="int8").vision == 0
    seeing = load("mistral3", reference("mistral3"))
    assert (
        seeing._images._budget
        == kept_bytes(seeing._model.config)
        < needs_of(CONFIGS["mistral3"], "tiny", precision="float32").vision
    )


def test_a_token_beyond_the_vocabulary_is_one_sentence(reference: Reference):
    model = load("mistral", reference("mistral"))
    with pytest.raises(EngineError, match="its tokenizer belongs to another model"):
        model.prefill([20, 160], model.new_cache())
