"""The routed experts among the weights of a model, stored one by one or in stacks, as `Expert`s.

Stacked as transformers has them: `gate_up_proj` [experts, 2 intermediate, hidden], gate first, and
`down_proj` [experts, hidden, intermediate]. gpt-oss keeps gate and up in alternate rows, has biases, and
stores the stacks that are not in MXFP4 the other way round: [experts, hidden, 2 intermediate] and
[experts, intermediate, hidden].
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.checkpoints.views import Flat, RowView, Transposed
from engine.checkpoints.weight import Expert, Weight
from engine.errors import BadModelFile

STACK = re.compile(
    r"^(.*\.layers\.(\d{1,6})\.mlp\.experts)\.(gate_up_proj|gate_proj|up_proj|down_proj)(_bias)?(?:\.weight)?$"
)
SINGLE = re.compile(
    r"^(.*\.layers\.(\d{1,6})\.(?:mlp|block_sparse_moe)\.experts)\.(\d{1,6})\.(gate_proj|up_proj|down_proj|w[123])\.weight$"
)
PARTS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
MakeExpert = Callable[[int], Expert]


@dataclass
class _Layer:
    prefix: str
    stacks: dict[str, Weight] = field(default_factory=dict)
    singles: dict[str, dict[int, Weight]] = field(default_factory=lambda: defaultdict(dict))


def find_experts(
    weights: Mapping[str, Weight], *, gpt_oss: bool = False
) -> tuple[dict[int, tuple[int, MakeExpert]], set[str]]:
    """For each layer with experts how many there are and how to make one; and the names they take up."""
    layers: dict[int, _Layer] = {}
    names: set[str] = set()
    for name, weight in weights.items():
        single, stack = SINGLE.match(name), STACK.match(name)
        match = single or stack
        if not match:
            continue
        names.add(name)
        layer = layers.setdefault(int(match[2]), _Layer(match[1]))
        if layer.prefix != match[1]:
            raise BadModelFile(
                f"The experts of layer {match[2]} are stored under two names; fetch the model again."
            )
        if single:
            part, number = PARTS.get(single[4], single[4]), int(single[3])
            if number in layer.singles[part]:
                raise BadModelFile(f"{name} is stored under two names; fetch the model again.")
            layer.singles[part][number] = weight
        elif stack:
            layer.stacks[stack[3] + (stack[4] or "")] = weight
    return {number: _maker(number, layer, gpt_oss) for number, layer in sorted(layers.items())}, names


def _maker(number: int, layer: _Layer, gpt_oss: bool) -> tuple[int, MakeExpert]:
    parts, stacks = layer.singles, layer.stacks
    if parts and not stacks and set(parts) == set(PARTS.values()):
        count = len(parts["gate_proj"])
        if all(sorted(part) == list(range(count)) for part in parts.values()):
            gate, up, down = (parts[part] for part in PARTS.values())
            return count, lambda n: Expert(gate[n], up[n], down[n])
    if stacks and not parts and "down_proj" in stacks:
        count = stacks["down_proj"].shape[0] if len(stacks["down_proj"].shape) == 3 else 0
        biases = {f"{part}_bias" for part in ("gate_up_proj", "down_proj")} if gpt_oss else set()
        plain = set(stacks) - biases
        whole = set(stacks) >= biases and plain in ({"gate_up_proj", "down_proj"}, set(PARTS.values()))
        if whole and all(len(stacks[part].shape) == 3 and stacks[part].shape[0] == count for part in plain):
            _check_halves(number, stacks, gpt_oss)
            if gpt_oss:
                _check_biases(number, stacks, count)
                return count, lambda n: _gpt_oss_expert(layer.prefix, stacks, n)
            return count, lambda n: _stacked_expert(layer.prefix, stacks, n)
    raise BadModelFile(
        f"The experts of layer {number} are not complete: each needs its gate, up and down projection; "
        "fetch the model again."
    )


def _check_halves(number: int, stacks: Mapping[str, Weight], gpt_oss: bool) -> None:
    fused = stacks.get("gate_up_proj")
    turned = gpt_oss and fused is not None and fused.kind != "MXFP4"
    if fused is not None and fused.shape[2 if turned else 1] % 2:
        raise BadModelFile(
            f"The gate and up projections of layer {number} are not of one size; fetch the model again."
        )


def _check_biases(number: int, stacks: Mapping[str, Weight], count: int) -> None:
    fused, turned = stacks["gate_up_proj"], stacks["gate_up_proj"].kind != "MXFP4"
    down = stacks["down_proj"]
    sizes = {
        "gate_up_proj_bias": fused.shape[2 if turned else 1],
        "down_proj_bias": down.shape[2 if down.kind != "MXFP4" else 1],
    }
    for name, size in sizes.items():
        if stacks[name].shape != (count, size):
            raise BadModelFile(f"The {name} of layer {number} has the wrong shape; fetch the model again.")


def _rows_of(
    prefix: str, stack: Weight, n: int, part: str, first: int = 0, step: int = 1, halves: int = 1
) -> RowView:
    """Rows of matrix `n` of a stack: a half of them from `first`, or every `step`-th."""
    height = stack.shape[1]
    begin, length = n * height + first, height // halves
    rows = range(begin, begin + length) if step == 1 else range(begin, (n + 1) * height, step)
    return RowView(f"{prefix}.{n}.{part}", stack, rows, (len(rows), stack.shape[2]))


def _stacked_expert(prefix: str, stacks: Mapping[str, Weight], n: int) -> Expert:
    down = _rows_of(prefix, stacks["down_proj"], n, "down_proj")
    fused = stacks.get("gate_up_proj")
    if fused is None:
        gate, up = (_rows_of(prefix, stacks[part], n, part) for part in ("gate_proj", "up_proj"))
        return Expert(gate, up, down)
    half = fused.shape[1] // 2
    return Expert(
        _rows_of(prefix, fused, n, "gate_proj", halves=2),
        _rows_of(prefix, fused, n, "up_proj", first=half, halves=2),
        down,
    )


def _gpt_oss_expert(prefix: str, stacks: Mapping[str, Weight], n: int) -> Expert:
    fused, down = stacks["gate_up_proj"], stacks["down_proj"]
    gate_up: list[Weight] = []
    for first, part in enumerate(("gate_proj", "up_proj")):
        if fused.kind == "MXFP4":
            gate_up.append(_rows_of(prefix, fused, n, part, first, step=2))
        else:
            matrix = _rows_of(prefix, fused, n, part)
            gate_up.append(Transposed(matrix.name, matrix, first, step=2))
    matrix = _rows_of(prefix, down, n, "down_proj")
    bias = stacks["gate_up_proj_bias"]
    biases = (
        Flat(f"{prefix}.{n}.gate_proj_bias", bias, n, 0, step=2),
        Flat(f"{prefix}.{n}.up_proj_bias", bias, n, 1, step=2),
        Flat(f"{prefix}.{n}.down_proj_bias", stacks["down_proj_bias"], n),
    )
    turned = matrix if down.kind == "MXFP4" else Transposed(matrix.name, matrix)
    return Expert(gate_up[0], gate_up[1], turned, biases)
