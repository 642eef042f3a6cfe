"""What the network sees at an image's places in a prompt (`engine.vision.places`).

Pixels are looked at when a place comes up that the cache does not hold, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from engine.errors import EngineError, UnsupportedModel
from engine.hosted.attention import SCORE_BYTES, attend
from engine.vision.album import BUDGET
from engine.vision.places import place_of

FLOAT = 4
"""Bytes of a number."""
KEPT_IMAGES = 4
"""Embeddings are kept of the images last used: as many bytes as those of so many of the largest take."""
PATCHES_AT_ONCE = 1024
"""Patches that go through the tower's feed-forward together."""
COPIES, INNER_COPIES = 10, 3
"""That exist at once in a layer of the tower: of the hidden states of all patches (what goes on, what is
normed, queries, keys and values, turned and not, attended), and of what is within its feed-forward."""
ATTENTION = "ostro_image"


class Picture(Protocol):
    def pixel_values(self) -> np.ndarray:
        """float32 [3, height, width], normalised as the tower was trained; its sides are whole places."""
        ...


class Images:
    """The pictures of the prompts at hand, and the embeddings of those that were looked at last."""

    def __init__(self, embed: Callable[[Tensor, Callable[[], None]], Tensor], budget: int):
        """`embed` makes [places, hidden] of pixel values; it is given a check that may raise. `budget` is
        in bytes, of embeddings; those of one image are kept whatever they take."""
        self._embed, self._budget = embed, budget
        self._shown: dict[int, Picture] = {}
        self._kept: dict[int, Tensor] = {}

    def show(self, pictures: Mapping[int, Picture]) -> None:
        """These can be looked at from now on, and no others; a number never stands for another picture."""
        self._shown = dict(pictures)

    def rows(self, ids: Sequence[int], check: Callable[[], None]) -> Tensor:
        """[len(ids), hidden], of ids below zero. Raises EngineError for a picture that was not shown."""
        places = [place_of(each) for each in ids]
        embeddings = {
            number: self._embeddings(number, check) for number in dict.fromkeys(n for n, _ in places)
        }
        for number, n in places:
            if n >= len(embeddings[number]):
                raise EngineError(
                    "The prompt has more places for an image than the image has; send it again."
                )
        return torch.stack([embeddings[number][n] for number, n in places])

    def _embeddings(self, number: int, check: Callable[[], None]) -> Tensor:
        if number in self._kept:
            found = self._kept.pop(number)
        elif number in self._shown:
            found = self._embed(torch.from_numpy(self._shown[number].pixel_values()), check)
        else:
            raise EngineError("An image of this prompt is not at hand any more; send it again.")
        self._kept[number] = found  # the most recently used is last
        while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > self._budget:
            del self._kept[next(iter(self._kept))]
        return found


def kept_bytes(config: Any) -> int:
    """Of embeddings, by a transformers configuration that has a tower."""
    tower = config.vision_config
    places = _squared(tower.image_size, tower.patch_size * config.spatial_merge_size)
    return KEPT_IMAGES * places * config.text_config.hidden_size * FLOAT


def vision_bytes(config: Any) -> int:
    """What seeing takes besides the tower's weights: the largest image on its way through it, embeddings,
    and the files of the images of a conversation. Estimated from above."""
    tower = config.vision_config
    patches = _squared(tower.image_size, tower.patch_size)
    inner = INNER_COPIES * min(patches, PATCHES_AT_ONCE) * tower.intermediate_size
    on_its_way = FLOAT * (COPIES * patches * tower.hidden_size + inner) + SCORE_BYTES
    return on_its_way + kept_bytes(config) + BUDGET


def _squared(pixels: int, side: int) -> int:
    """Squares of that side that the largest image has."""
    return (-(-pixels // side)) ** 2


def embed_image(model: Any, pixels: Tensor, check: Callable[[], None]) -> Tensor:
    """The embeddings [places, hidden] that a Mistral3 model puts in the place of one image's tokens.

    `pixels` is float32 [3, height, width]; places are (height / side) * (width / side), row by row, where a
    side is patch size times merge size. The tower and the projector are transformers'; one image at a time
    goes through the tower's layers, so that the mask which keeps images of a batch apart (12,100 patches
    squared for the largest) is never made. `check` is called before each layer.
    """
    tower, projector = model.vision_tower, model.multi_modal_projector
    wanted = model.config.vision_feature_layer
    if not isinstance(wanted, int):
        raise UnsupportedModel("This model joins several layers of its vision tower, which is not supported.")
    side = tower.patch_size * model.config.spatial_merge_size
    if pixels.ndim != 3 or pixels.shape[1] % side or pixels.shape[2] % side or not pixels.numel():
        raise EngineError(f"An image's sides must be multiples of {side} pixels; scale it first.")
    weight = tower.patch_conv.weight
    grid = tower.patch_conv(pixels[None].to(weight))[0]
    x = tower.ln_pre(grid.flatten(1).T[None])
    at = torch.meshgrid(*(torch.arange(n, device=x.device) for n in grid.shape[1:]), indexing="ij")
    rotation = tower.patch_positional_embedding(x, torch.stack([each.flatten() for each in at], dim=-1))
    layers = tower.transformer.layers
    for layer in layers[: wanted if wanted >= 0 else len(layers) + 1 + wanted]:
        check()
        x = layer(x, None, position_embeddings=rotation)
    return projector(x[0], [tuple(pixels.shape[1:])])


def look_in_parts(tower: Any) -> None:
    """Let the tower attend in blocks, too, and its feed-forward take some of the patches at a time."""
    for module in tower.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = ATTENTION
    for layer in tower.transformer.layers:
        layer.feed_forward.forward = partial(_in_slices, layer.feed_forward.forward)


def _in_slices(forward: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    """[1, patches, hidden] to the same."""
    out = torch.empty_like(patches)
    for start in range(0, patches.shape[1], PATCHES_AT_ONCE):
        part = slice(start, start + PATCHES_AT_ONCE)
        out[:, part] = forward(patches[:, part])
    return out


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """All patches see each other: [1, heads, patches, width] to [1, patches, heads, width]."""
    keys, values = key[0].float(), value[0].float()
    partial = attend(
        query[0].float() * scaling,
        lambda start, stop: (keys[:, start:stop], values[:, start:stop]),
        keys.shape[1],
    )
    return partial.finished().transpose(0, 1)[None].to(query.dtype), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attend)
