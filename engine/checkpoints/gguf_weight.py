"""A tensor of a GGUF file as a weight, and `kv_b_proj` put together from the two that GGUF has of it."""

from __future__ import annotations

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from engine.checkpoints.gguf_blocks import grouped_ints
from engine.checkpoints.weight import Decoded, GroupedInts, Weight
from engine.errors import BadModelFile, UnsupportedModel
from engine.gguf_file import Tensor


def _readable(kind: GGMLQuantizationType) -> bool:
    _, size = GGML_QUANT_SIZES[kind]
    try:
        dequantize(np.zeros((1, size), dtype=np.uint8), kind)
    except NotImplementedError:
        return False
    return True


READABLE = {kind for kind in GGMLQuantizationType if _readable(kind)}


class GgufWeight(Decoded):
    """Decoded by the `gguf` package, row by row."""

    def __init__(self, name: str, tensor: Tensor):
        if tensor.kind not in READABLE:
            raise UnsupportedModel(
                f"The tensor {tensor.name} is in {tensor.kind.name}, which Ostro does not read."
            )
        super().__init__(name, tensor.shape, tensor.kind.name, tensor.data.nbytes)
        self._tensor = tensor

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        if self._tensor.kind == GGMLQuantizationType.MXFP4:
            grouped = self._grouped(start, stop)  # the package takes the exponent that means NaN for a number
            assert grouped is not None
            return grouped.floats()
        with np.errstate(all="ignore"):  # what is not finite is refused by who asked
            values = self._tensor.rows(start, stop)
        return torch.from_numpy(values if values.flags.writeable else values.copy())

    def _grouped(self, start: int, stop: int) -> GroupedInts | None:
        with np.errstate(all="ignore"):
            return grouped_ints(self._tensor.kind, self._tensor.data[start:stop])


class KeyValueUp(Decoded):
    """`kv_b_proj` [heads * (plain + value), latent], in GGUF `attn_k_b` and `attn_v_b`.

    `attn_v_b` is [heads, value, latent]; `attn_k_b` [heads, latent, plain], for the absorbed product.
    """

    def __init__(self, name: str, keys: Weight, values: Weight):
        if (
            len(keys.shape) != 3
            or len(values.shape) != 3
            or keys.shape[:2] != (values.shape[0], values.shape[2])
        ):
            raise BadModelFile(
                f"attn_k_b {list(keys.shape)} and attn_v_b {list(values.shape)} are not the parts of {name}; "
                "fetch the model again."
            )
        heads, latent, self._plain = keys.shape
        self._value = values.shape[1]
        stored = keys.stored_bytes + values.stored_bytes
        super().__init__(name, (heads * (self._plain + self._value), latent), keys.kind, stored)
        self._keys, self._values = keys, values

    def _decode(self, start: int, stop: int) -> torch.Tensor:
        height = self._plain + self._value
        rows = torch.empty(stop - start, self.columns)
        for head in range(start // height, -(-stop // height)):
            key = self._keys.rows(head * self.columns, (head + 1) * self.columns).T
            value = self._values.rows(head * self._value, (head + 1) * self._value)
            first, last = max(start, head * height), min(stop, (head + 1) * height)
            whole = torch.cat((key, value))
            rows[first - start : last - start] = whole[first - head * height : last - head * height]
        return rows
