"""One expert, and several of one token together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.experts import ExpertStore, PackedModel, convert
from tests.engine.experts.random_source import RandomSource


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("form", ["int4", "int8", "bfloat16", "float32"])
def test_several_together_have_the_bits_of_each(tmp_path: Path, form: str, biased: bool) -> None:
    """Also where rows are filled up to whole tiles."""
    source = RandomSource(tmp_path, experts=6, hidden=96, intermediate=160, biased=biased)
    packed: PackedModel = convert(source, tmp_path / "packed", form=form)
    with ExpertStore.open(packed, budget=1 << 28) as store:
        every = torch.arange(6)[None]
        store.forward(packed.expert_layers()[0], torch.ones(1, 96), every, torch.ones(1, 6))
        kernel = store.memory.kernel
        x = torch.randn(1, 96, generator=torch.Generator().manual_seed(0)).to(kernel.takes)
        several = [store.memory.operands(slot) for slot in range(5)]
        together = kernel.run_several(x, several)
        assert together.dtype == torch.float32
        assert torch.equal(together, torch.cat([kernel.run(x, operands) for operands in several]))
