"""One expert applied to some tokens, with torch's own operators.

What was measured decides (2 threads, AVX-512, matrix 4096 x 4096, milliseconds for 16 / 64 / 256 tokens): the
4-bit product takes 11 / 36 / 104; making bfloat16 weights first takes 160 and then 7 / 14 / 42. So that on a
processor the 4-bit product serves every number of tokens that a prefill gives one expert, and bit-equality
needs no rule about batch sizes. A device without that product makes the weights first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from engine.experts.grouped import GROUP
from engine.experts.record import Geometry, four_bit_floats
from engine.experts.tiles import native_order

Activation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(gate, up), float32 [tokens, intermediate] each, to the input of the down matrix, of that shape.
What it is given may be changed in place."""
Operands = Sequence[torch.Tensor]
"""Views of one slot, in the order of its geometry's parts, shaped as the kernel takes them."""

_four_bits = torch.ops.aten._weight_int4pack_mm_for_cpu
_eight_bits = torch.ops.aten._weight_int8pack_mm


def silu_and_multiply(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up: Mistral, Qwen, Mixtral."""
    return F.silu(gate, inplace=True).mul_(up)


class Kernel:
    """y = down(activation(gate x, up x)) for experts of one geometry, on one device."""

    def __init__(self, geometry: Geometry, activation: Activation, device: torch.device):
        if geometry.kept:
            raise ValueError("a kernel works on loaded records")
        self._geometry, self._activation = geometry, activation
        self._half, self._hidden = geometry.intermediate, geometry.hidden
        self.takes = torch.float32 if geometry.form == "float32" else torch.bfloat16
        """The type of the tokens that `run` is given."""
        on_processor = device.type == "cpu"
        self._product = {
            "int4": self._int4 if on_processor else self._int4_anywhere,
            "int8": self._int8 if on_processor else self._int8_anywhere,
        }.get(geometry.form, self._dense)
        self._one = torch.ones(max(2 * self._half, self._hidden), dtype=torch.bfloat16, device=device)

    def operands(self, slot: torch.Tensor) -> Operands:
        """Of uint8 [geometry.bytes]: made once a slot, so that a decoded token costs no slicing."""
        views = []
        for name, part in self._geometry.parts.items():
            view = part.of(slot)
            if self._geometry.form == "int4" and name.endswith(".values"):
                tiles, columns, half = view.shape
                view = view.view(tiles * half * 2, columns // 2)
            views.append(view)
        return tuple(views)

    def run(self, x: torch.Tensor, operands: Operands) -> torch.Tensor:
        """x [tokens, hidden] of type `takes`; returns float32 [tokens, hidden].

        At 4 and 8 bits a row's result does not depend on the rows beside it; dense products of torch round
        differently by the number of rows.
        """
        if self._geometry.biased:
            *matrices, gate_up_bias, down_bias = operands
        else:
            matrices, gate_up_bias, down_bias = operands, None, None
        both = self._product(x, *matrices[0::2])[:, : 2 * self._half].float()
        if gate_up_bias is not None:
            both += gate_up_bias
        between = self._activation(both[:, : self._half], both[:, self._half :]).to(self.takes)
        y = self._product(between, *matrices[1::2])[:, : self._hidden].float()
        return y if down_bias is None else y + down_bias

    def run_several(self, x: torch.Tensor, several: Sequence[Operands]) -> torch.Tensor:
        """x [1, hidden] through each of several experts; returns float32 [experts, hidden], `run`'s bits.

        What lies between the products is done for all of them together: a decoded token is so little work
        that the number of operators counts.
        """
        if self._geometry.biased:
            return torch.cat([self.run(x, operands) for operands in several])
        both = torch.cat([self._product(x, *operands[0::2]) for operands in several]).float()
        gate, up = both[:, : self._half], both[:, self._half : 2 * self._half]
        between = self._activation(gate, up).to(self.takes).split(1)
        downs = [self._product(one, *operands[1::2]) for one, operands in zip(between, several, strict=True)]
        return torch.cat(downs)[:, : self._hidden].float()

    def _dense(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weight)

    def _int4(self, x: torch.Tensor, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return _four_bits(x, values, GROUP, scales)

    def _int4_anywhere(self, x: torch.Tensor, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        rows, half = values.shape
        tiles = values.view(rows // 64, half * 2, 32)
        return F.linear(x, four_bit_floats(native_order().back(tiles), scales))

    def _int8(self, x: torch.Tensor, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        # The scale is float32 and the product would take it as bfloat16: it is multiplied in afterwards.
        return _eight_bits(x, values, self._one[: values.shape[0]]).float().mul_(scales)

    def _int8_anywhere(self, x: torch.Tensor, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return F.linear(x, values.to(x.dtype)).float().mul_(scales)
