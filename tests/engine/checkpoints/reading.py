"""Reading a checkpoint whole, as the engine does: every name of the model, each in the model's shape."""

from __future__ import annotations

from typing import Any

import torch

from engine.checkpoints import Checkpoint, Expert
from engine.errors import BadModelFile
from tests.engine.random_checkpoints import State, build


def read_state(checkpoint: Checkpoint, shapes: dict[str, tuple[int, ...]]) -> State:
    """The state dict of the model whose parameters have `shapes`, experts in transformers' stacks."""
    state: State = {}
    stacks = {name for name in shapes if ".mlp.experts." in name}
    wanted = set(shapes) - stacks
    if wanted != set(checkpoint.names()):
        raise BadModelFile(f"{checkpoint.path}: other weights than the model has; fetch it again.")
    for name in checkpoint.names():
        state[name] = checkpoint.weight(name, shapes[name]).floats()
    for layer in checkpoint.expert_layers():
        experts = [checkpoint.expert(layer, n) for n in range(checkpoint.expert_count())]
        state.update(_stacks(layer, experts, stacks))
    if set(state) != set(shapes):
        raise BadModelFile(f"{checkpoint.path}: other experts than the model has; fetch it again.")
    return state


def _stacks(layer: int, experts: list[Expert], names: set[str]) -> State:
    (prefix,) = {name.rpartition(".")[0] for name in names if f".layers.{layer}.mlp." in name}
    gate = torch.stack([expert.gate.floats() for expert in experts])
    up = torch.stack([expert.up.floats() for expert in experts])
    down = torch.stack([expert.down.floats() for expert in experts])
    if experts[0].biases is None:
        return {f"{prefix}.gate_up_proj": torch.cat((gate, up), dim=1), f"{prefix}.down_proj": down}
    biases = [expert.biases for expert in experts if expert.biases]
    gate_bias, up_bias, down_bias = (torch.stack([b[n].floats() for b in biases]) for n in range(3))
    return {
        f"{prefix}.gate_up_proj": torch.stack((gate, up), dim=2).flatten(1, 2).transpose(1, 2),
        f"{prefix}.gate_up_proj_bias": torch.stack((gate_bias, up_bias), dim=2).flatten(1),
        f"{prefix}.down_proj": down.transpose(1, 2),
        f"{prefix}.down_proj_bias": down_bias,
    }


def load_model(checkpoint: Checkpoint) -> Any:
    """The transformers model of the checkpoint's own configuration with its own weights."""
    model = build(checkpoint.config)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(read_state(checkpoint, shapes), strict=True)
    return model
