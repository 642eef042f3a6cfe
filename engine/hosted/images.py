"""Images in a prompt: their embeddings, and the token ids that stand for them.

A prompt's image tokens are all the same id, so that two images of one size would look like the same prefix to
the cache. In what the network is given, each is a stand-in instead: a number made of the image's digest and
the row of the image it is. Equal ids are then equal input, and a prefix with an image in it can be reused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from engine.errors import EngineError, UnsupportedModel
from engine.hosted.attention import attend

FIRST_STAND_IN = 1 << 48
"""Stand-ins are from here on; every vocabulary ends long before."""
ROW_BITS = 20
DIGEST_BYTES = 16
KEPT_BYTES = 256 << 20
"""Of embeddings, of the images last used. The prefix cache outlives them: what it holds needs none."""
ATTENTION = "ostro_image"


def stand_ins(digest: bytes, rows: int) -> list[int]:
    """Ids for the `rows` image tokens of the image whose content has this digest (SHA-256 or the like)."""
    if len(digest) < DIGEST_BYTES or rows >= 1 << ROW_BITS:
        raise ValueError("an image needs a digest of 16 bytes or more, and fewer than 2 ** 20 tokens")
    image = FIRST_STAND_IN + (int.from_bytes(digest[:DIGEST_BYTES], "big") << ROW_BITS)
    return list(range(image, image + rows))


class Images:
    """Embeddings of the images last seen, by their stand-ins."""

    def __init__(self, budget: int = KEPT_BYTES):
        self._budget = budget
        self._kept: dict[int, Tensor] = {}

    def ids(self, digest: bytes) -> list[int] | None:
        """The stand-ins of an image whose embeddings are still here; it counts as used now."""
        image = _image(stand_ins(digest, 1)[0])
        if image not in self._kept:
            return None
        self._kept[image] = self._kept.pop(image)
        return stand_ins(digest, self._kept[image].shape[0])

    def keep(self, digest: bytes, embeddings: Tensor) -> list[int]:
        """`embeddings` [rows, hidden]; returns the stand-ins. The image last used is always kept."""
        ids = stand_ins(digest, embeddings.shape[0])
        self._kept.pop(_image(ids[0]), None)
        self._kept[_image(ids[0])] = embeddings
        while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > self._budget:
            del self._kept[next(iter(self._kept))]
        return ids

    def rows(self, ids: Sequence[int]) -> Tensor:
        """[len(ids), hidden]. Raises EngineError for an image that is not here."""
        found = []
        for each in ids:
            image = self._kept.get(_image(each))
            if image is None:
                raise EngineError("An image of this prompt is not loaded any more; send it again.")
            found.append(image[each & ((1 << ROW_BITS) - 1)])
        return torch.stack(found)


def embed_image(model: Any, pixels: Tensor, check: Callable[[], None]) -> Tensor:
    """The embeddings [tokens, hidden] that a Mistral3 model puts in the place of one image's tokens.

    `pixels` is [3, height, width], normalised as the tower was trained, both sides multiples of patch size
    times merge size; tokens are (height / side) * (width / side), row by row. The tower and the projector are
    transformers'; one image at a time goes through the tower's layers, so that the mask which keeps images of
    a batch apart (12,100 patches squared for the largest) is never made. `check` is called before each layer.
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


def attend_within_images(tower: Any) -> None:
    """Let the tower attend in blocks, too."""
    for module in tower.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = ATTENTION


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


def _image(stand_in: int) -> int:
    return stand_in >> ROW_BITS


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attend)
