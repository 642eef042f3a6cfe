"""Which stored tensors make up one weight: the values with the scales that stand beside them by name."""

from __future__ import annotations

from collections.abc import Mapping

from engine.checkpoints.fp4 import Mxfp4Weight, Nvfp4Weight
from engine.checkpoints.safetensors_file import StoredTensor
from engine.checkpoints.stored import EIGHT_BIT, EightBitWeight, PlainWeight
from engine.checkpoints.weight import Weight
from engine.errors import BadModelFile

PACKED, BLOCKS = "weight_packed", "_blocks"
SCALE_SUFFIXES = ("_scale_inv", "_scale")
NATIVE_SCALE = "qscale_weight"
OF_ACTIVATIONS = (
    "activation_scale", "input_scale", "input_global_scale", "qscale_act", "k_scale", "v_scale",
)  # fmt: skip
"""How activations and the cache would be quantised: Ostro computes those in floats."""


def join_scales(
    tensors: Mapping[str, StoredTensor], block: tuple[int, int] | None = None
) -> dict[str, Weight]:
    """Each weight of the files once, under the name it would have without quantisation.

    `block` is `weight_block_size` of the quantisation's configuration, where there is one.
    """
    weights: dict[str, Weight] = {}
    used: set[str] = set()

    def scale_of(name: str, *candidates: str) -> StoredTensor:
        for candidate in candidates:
            if candidate in tensors:
                used.add(candidate)
                return tensors[candidate]
        where = tensors[name].file.path
        raise BadModelFile(
            f"{where}: {name} has no scale ({candidates[0]}) beside it; fetch the model again."
        )

    def put(weight: Weight) -> None:
        if weight.name in weights:
            raise BadModelFile(f"The weight {weight.name} is stored in two forms; fetch the model again.")
        weights[weight.name] = weight

    for name, tensor in tensors.items():
        stem = name[: -len(PACKED)] if name.endswith("." + PACKED) else None
        if stem is not None:
            scale, divisor = (
                scale_of(name, f"{stem}weight_scale"),
                scale_of(name, f"{stem}weight_global_scale"),
            )
            put(Nvfp4Weight(f"{stem}weight", tensor, scale, divisor))
        elif name.endswith(BLOCKS):
            plain = name.removesuffix(BLOCKS)
            put(Mxfp4Weight(plain, tensor, scale_of(name, f"{plain}_scales")))
        elif tensor.dtype in EIGHT_BIT and not name.endswith(SCALE_SUFFIXES):
            native = name.removesuffix("weight") + NATIVE_SCALE
            scale = scale_of(name, *(name + suffix for suffix in SCALE_SUFFIXES), native)
            put(EightBitWeight(name, tensor, scale, block))
    eight_bit = {name for name in tensors if name in weights}
    for name, tensor in tensors.items():
        taken = name in used or name in eight_bit or name.endswith(("." + PACKED, BLOCKS))
        if not taken and not name.endswith(OF_ACTIVATIONS):
            put(PlainWeight(name, tensor))
    return weights
