"""One expert as bytes: which parts a record has, where each lies, and how it is filled and read.

    int4       values in tiles (see `tiles`), then scale and zero as torch's product takes them: bfloat16
               [columns / 32, rows, 2], w = (q - 8) * scale + zero
    int4, kept from Q4_K   the same values, then the file's own units and levels, exact and
               smaller; they become scale and zero when the record is loaded
    int8       values [rows, columns], one float32 scale a row
    bfloat16, float32      the weights [rows, columns]

Gate and up are one matrix of 2 * intermediate rows, gate first. Parts start at multiples of 64 bytes, records
at multiples of a page, so that one can be mapped or read past the page cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch

from engine.checkpoints import GroupedInts, Levels
from engine.errors import BadModelFile, UnsupportedModel
from engine.experts.grouped import (
    CENTRE,
    GROUP,
    SUPER,
    as_one_scale,
    refuse_non_finite,
    to_eight_bits,
    to_four_bits,
)
from engine.experts.source import Expert, ExpertWeight
from engine.experts.tiles import TILE, pack, unpack

FORMS = ("int4", "int8", "bfloat16", "float32")
PAGE = 4096
PART = 64
MATRICES = ("gate_up", "down")


@dataclass(frozen=True)
class Part:
    offset: int
    shape: tuple[int, ...]
    kind: torch.dtype

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.kind.itemsize

    def of(self, record: torch.Tensor) -> torch.Tensor:
        """This part of uint8 [record bytes], as a view."""
        return record[self.offset : self.offset + self.bytes].view(self.kind).view(self.shape)


@dataclass(frozen=True)
class Geometry:
    """The shape of every record of a layer. Raises UnsupportedModel where the form cannot hold it."""

    form: str
    hidden: int
    intermediate: int
    biased: bool = False
    kept: tuple[str, ...] = ()
    """Matrices with Q4_K's own units and levels."""

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UnsupportedModel(
                f"There is no form {self.form!r} of packed experts; use {', '.join(FORMS)}."
            )
        if self.form == "int4" and (self.hidden % GROUP or self.intermediate % GROUP):
            raise UnsupportedModel(
                f"Experts of {self.hidden} x {self.intermediate} do not fill groups of {GROUP} at 4 bits;"
                " use int8."
            )
        if self.kept and self.form != "int4":
            raise UnsupportedModel("Only records at 4 bits keep a file's own scales.")

    def matrix(self, name: str) -> tuple[int, int]:
        """Rows and columns of "gate_up" or "down"."""
        return (2 * self.intermediate, self.hidden) if name == "gate_up" else (self.hidden, self.intermediate)

    @cached_property
    def parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        at = 0
        for name, shape, kind in self._wanted():
            parts[name] = Part(at, shape, kind)
            at = -(-(at + parts[name].bytes) // PART) * PART
        return parts

    @cached_property
    def bytes(self) -> int:
        last = list(self.parts.values())[-1]
        return -(-(last.offset + last.bytes) // PAGE) * PAGE

    @cached_property
    def loaded(self) -> Geometry:
        """As it is in memory: units and levels made into scales."""
        return replace(self, kept=())

    def _wanted(self) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
        """Values first: they lie in the same place whether or not the scales are still a file's own."""
        tiled = {name: -(-self.matrix(name)[0] // TILE) for name in MATRICES}
        for name in MATRICES:
            rows, columns = self.matrix(name)
            if self.form == "int4":
                yield f"{name}.values", (tiled[name], columns, TILE // 2), torch.uint8
            elif self.form == "int8":
                yield f"{name}.values", (rows, columns), torch.int8
            else:
                yield f"{name}.weight", (rows, columns), getattr(torch, self.form)
        for name in MATRICES if self.form in ("int4", "int8") else ():
            rows, columns = self.matrix(name)
            if self.form == "int8":
                yield f"{name}.scales", (rows,), torch.float32
            elif name in self.kept:
                supers = -(-columns // (GROUP * SUPER))
                yield f"{name}.units", (supers, tiled[name] * TILE, 2), torch.float16
                yield f"{name}.levels", (columns // GROUP, tiled[name] * TILE, 2), torch.uint8
            else:
                yield f"{name}.scales", (columns // GROUP, tiled[name] * TILE, 2), torch.bfloat16
        if self.biased:
            yield "gate_up.bias", (2 * self.intermediate,), torch.float32
            yield "down.bias", (self.hidden,), torch.float32


def kept_of(expert: Expert) -> tuple[str, ...]:
    """The matrices of an expert whose 4-bit numbers map without loss, scales and all."""
    kept = []
    for name, weights in (("gate_up", (expert.gate, expert.up)), ("down", (expert.down,))):
        if all((grouped := weight.blocks()) is not None and _keeps(grouped) for weight in weights):
            kept.append(name)
    return tuple(kept)


def fill(geometry: Geometry, expert: Expert, record: torch.Tensor, name: str) -> None:
    """Write an expert into uint8 [geometry.bytes], in the order on disk, one matrix at a time.

    `name` stands for the expert in errors. Raises BadModelFile or UnsupportedModel.
    """
    record.zero_()
    half = geometry.intermediate
    for weight, matrix, start in (
        (expert.gate, "gate_up", 0), (expert.up, "gate_up", half), (expert.down, "down", 0)
    ):  # fmt: skip
        rows, columns = geometry.matrix(matrix)
        expected = (half, columns) if matrix == "gate_up" else (rows, columns)
        if tuple(weight.shape) != expected:
            raise BadModelFile(f"{name} has a {matrix} matrix of {tuple(weight.shape)}, not {expected}.")
        _fill_rows(geometry, weight, record, matrix, start, f"{name}, {matrix}")
    if geometry.biased != (expert.biases is not None):
        raise BadModelFile(
            f"{name} {'lacks' if geometry.biased else 'has'} biases, unlike the others of the model."
        )
    if expert.biases is not None:
        gate, up, down = (
            bias.float() if isinstance(bias, torch.Tensor) else bias.floats() for bias in expert.biases
        )
        for bias in (gate, up, down):
            refuse_non_finite(bias, name)
        geometry.parts["gate_up.bias"].of(record).copy_(torch.cat((gate, up)))
        geometry.parts["down.bias"].of(record).copy_(down)


def _fill_rows(
    geometry: Geometry, weight: ExpertWeight, record: torch.Tensor, matrix: str, start: int, name: str
) -> None:
    stop = start + weight.shape[0]
    parts = geometry.parts
    if geometry.form in ("bfloat16", "float32"):
        floats = weight.floats()
        refuse_non_finite(floats, name)
        parts[f"{matrix}.weight"].of(record)[start:stop].copy_(floats)
        return
    grouped = weight.blocks()
    if geometry.form == "int8":
        kept = as_one_scale(grouped) if grouped is not None else None
        values, scale = kept if kept is not None else to_eight_bits(weight.floats(), name)
        refuse_non_finite(scale, name)
        parts[f"{matrix}.values"].of(record)[start:stop].copy_(values)
        parts[f"{matrix}.scales"].of(record)[start:stop].copy_(scale)
        return
    if grouped is None or grouped.bits != 4 or grouped.group != GROUP:
        grouped = to_four_bits(weight.floats(), name)
    refuse_non_finite(grouped.scale, name)
    _put_values(parts[f"{matrix}.values"].of(record), grouped.q, start)
    if matrix not in geometry.kept:
        zero = CENTRE * grouped.scale + (grouped.minimum if grouped.minimum is not None else 0)
        refuse_non_finite(zero, name)
        scales = parts[f"{matrix}.scales"].of(record)
        scales[:, start:stop, 0].copy_(grouped.scale.T)
        scales[:, start:stop, 1].copy_(zero.T)
        return
    levels = grouped.levels
    if levels is None:
        raise BadModelFile(f"{name} is stored in another format than the same matrix of other experts.")
    parts[f"{matrix}.units"].of(record)[:, start:stop].copy_(levels.units.transpose(0, 1))
    parts[f"{matrix}.levels"].of(record)[:, start:stop].copy_(levels.levels.transpose(0, 1))


def _put_values(target: torch.Tensor, values: torch.Tensor, start: int) -> None:
    """Rows [start, ...) of a matrix in tiles; a tile that gate and up share is opened again."""
    first, stop = start // TILE, -(-(start + values.shape[0]) // TILE)
    if start % TILE:
        before = unpack(target[first : first + 1])[: start % TILE]
        values = torch.cat((before, values))
    target[first:stop].copy_(pack(values))


def scales_of(units: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Units [supers, rows, 2], levels [groups, rows, 2] to exact scale and zero, float32 like levels."""
    products = units.float().repeat_interleave(SUPER, dim=0)[: levels.shape[0]] * levels.float()
    products[..., 1] = CENTRE * products[..., 0] - products[..., 1]
    return products


def matrix_floats(geometry: Geometry, record: torch.Tensor, matrix: str) -> torch.Tensor:
    """float32 [rows, columns] of "gate_up" or "down", exactly what the record says."""
    rows, _ = geometry.matrix(matrix)
    parts = geometry.parts
    if geometry.form in ("bfloat16", "float32"):
        return parts[f"{matrix}.weight"].of(record).float()
    values = parts[f"{matrix}.values"].of(record)
    if geometry.form == "int8":
        return values.float() * parts[f"{matrix}.scales"].of(record)[:, None]
    if matrix in geometry.kept:
        scales = scales_of(parts[f"{matrix}.units"].of(record), parts[f"{matrix}.levels"].of(record))
    else:
        scales = parts[f"{matrix}.scales"].of(record).float()
    return four_bit_floats(unpack(values), scales)[:rows]


def four_bit_floats(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Values uint8 [rows, columns], scale and zero [columns / 32, rows, 2] to weights of the scales' type."""
    rows, columns = values.shape
    grouped = values.to(scales.dtype).view(rows, columns // GROUP, GROUP) - CENTRE
    return (grouped * scales[..., 0].T[..., None] + scales[..., 1].T[..., None]).view(rows, columns)


def grouped_of(
    geometry: Geometry, record: torch.Tensor, matrix: str, first: int, last: int
) -> GroupedInts | None:
    """The numbers of rows [first, last), for who takes them as they are; None for a form that has none."""
    columns = geometry.matrix(matrix)[1]
    rows, parts = slice(first, last), geometry.parts
    if geometry.form == "int8":
        scale = parts[f"{matrix}.scales"].of(record)[rows, None]
        return GroupedInts(8, columns, parts[f"{matrix}.values"].of(record)[rows], scale, None)
    if geometry.form != "int4":
        return None
    values = unpack(parts[f"{matrix}.values"].of(record))[rows]
    levels = None
    if matrix in geometry.kept:
        units, level = parts[f"{matrix}.units"].of(record), parts[f"{matrix}.levels"].of(record)
        scales = scales_of(units, level)
        levels = Levels(
            units[:, rows].transpose(0, 1).contiguous(), level[:, rows].transpose(0, 1).contiguous()
        )
    else:
        scales = parts[f"{matrix}.scales"].of(record).float()
    scale = scales[:, rows, 0].T.contiguous()
    minimum = scales[:, rows, 1].T - CENTRE * scale
    return GroupedInts(4, GROUP, values, scale, minimum, levels)


def _keeps(grouped: GroupedInts) -> bool:
    return grouped.bits == 4 and grouped.group == GROUP and grouped.levels is not None
