"""The store against transformers' own experts, and against itself at every budget."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.experts import ExpertStore, PackedModel, convert
from engine.experts.source import ExpertSource
from tests.engine.experts.random_source import RandomSource

FORMS = ("float32", "bfloat16", "int8", "int4")
CLOSE = {"float32": 1e-6, "bfloat16": 0.01, "int8": 0.01, "int4": 0.01}
"""Norm of the error of the arithmetic, relative to the result's. The rounding of weights is
`test_packed`'s."""


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def routed(source: RandomSource, tokens: int, k: int = 3, seed: int = 0) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, source.hidden, generator=random)
    chances = torch.rand(tokens, source.experts, generator=random)
    weight, index = chances.topk(k)
    return hidden, index, weight / weight.sum(dim=1, keepdim=True)


def transformers_experts(source: ExpertSource, layer: int) -> torch.nn.Module:
    """mistral4's experts module with the weights that the source now has, computed eagerly."""
    from transformers.models.mistral4.configuration_mistral4 import Mistral4Config
    from transformers.models.mistral4.modeling_mistral4 import Mistral4Experts

    experts = [source.expert(layer, n) for n in range(source.expert_count())]
    intermediate, hidden = experts[0].gate.shape
    config = Mistral4Config(
        hidden_size=hidden, moe_intermediate_size=intermediate, n_routed_experts=len(experts)
    )
    config._experts_implementation = "eager"
    module = Mistral4Experts(config)
    gate_up = torch.stack([torch.cat((one.gate.floats(), one.up.floats())) for one in experts])
    down = torch.stack([one.down.floats() for one in experts])
    module.load_state_dict({"gate_up_proj": gate_up, "down_proj": down})
    return module


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tokens", [1, 5, 100])
def test_as_transformers_has_it(form: str, tokens: int, tmp_path: Path) -> None:
    source = RandomSource(tmp_path)
    packed = convert(source, tmp_path / "packed", form=form)
    with ExpertStore.open(packed, budget=1 << 24) as store, torch.no_grad():
        for layer in source.expert_layers():
            hidden, index, weight = routed(source, tokens, seed=layer)
            expected = transformers_experts(packed, layer)(hidden, index, weight)

            got = store.forward(layer, hidden, index, weight)

            assert (got - expected).norm() <= CLOSE[form] * expected.norm()
            assert got.dtype == hidden.dtype


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_that_is_not_packed_gives_the_same_bits(form: str, tmp_path: Path) -> None:
    source = RandomSource(tmp_path, biased=True)
    packed = convert(source, tmp_path / "packed", form=form)
    hidden, index, weight = routed(source, 5)
    with (
        ExpertStore.open(packed, budget=1 << 24) as first,
        ExpertStore.open(source, budget=1 << 24, form=form) as second,
    ):
        expected = first.forward(1, hidden, index, weight)
        assert torch.equal(second.forward(1, hidden, index, weight), expected)


def test_biases_and_the_family_s_activation(tmp_path: Path) -> None:
    def clamped(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return (up + 1) * gate * torch.sigmoid(1.702 * gate)

    source = RandomSource(tmp_path, biased=True, layers=1)
    hidden, index, weight = routed(source, 5)
    expected = torch.zeros_like(hidden)
    for token in range(5):
        for n, share in zip(index[token].tolist(), weight[token], strict=True):
            expert = source.expert(1, n)
            assert expert.biases is not None
            gate_bias, up_bias, down_bias = expert.biases
            gate = expert.gate.tensor @ hidden[token] + gate_bias
            up = expert.up.tensor @ hidden[token] + up_bias
            expected[token] += share * (expert.down.tensor @ clamped(gate, up) + down_bias)

    with ExpertStore.open(source, budget=1 << 24, activation=clamped) as store:
        got = store.forward(1, hidden, index, weight)

    assert (got - expected).norm() <= 1e-6 * expected.norm()


def test_an_index_beyond_the_experts_names_none(tmp_path: Path) -> None:
    source = RandomSource(tmp_path, layers=1)
    hidden, index, weight = routed(source, 5)
    with ExpertStore.open(source, budget=1 << 24) as store:
        nobody = torch.full_like(index, source.experts)
        assert not store.forward(1, hidden, nobody, weight).any()
        beyond = torch.cat((index, nobody), dim=1)
        expected = store.forward(1, hidden, index, weight)
        assert torch.equal(store.forward(1, hidden, beyond, torch.cat((weight, weight), dim=1)), expected)
        alone = store.forward(1, hidden[:1], beyond[:1], torch.cat((weight, weight), dim=1)[:1])
        assert torch.allclose(alone, expected[:1], atol=1e-6)  # another product of torch's for one row
        assert not store.forward(1, hidden[:0], index[:0], weight[:0]).numel()


@pytest.mark.parametrize("numbers", [(2, 2, 5), (5, 2, 2, 2), (3, 3)])
def test_a_token_may_name_an_expert_twice(numbers: tuple[int, ...], tmp_path: Path) -> None:
    """Also when all of its experts are in memory, which they are from the second time on."""
    source = RandomSource(tmp_path, layers=1)
    hidden, _, _ = routed(source, 1)
    index, weight = torch.tensor([numbers]), torch.arange(1.0, len(numbers) + 1)[None]
    with ExpertStore.open(source, budget=1 << 24) as store:
        alone = {n: store.forward(1, hidden, torch.tensor([[n]]), torch.ones(1, 1)) for n in set(numbers)}
        expected = torch.stack([alone[n] for n in numbers]).mul(weight[0, :, None, None]).sum(dim=0)
        for _ in range(3):
            got = store.forward(1, hidden, index, weight)
            assert torch.allclose(got, expected, atol=1e-5)


class Accounted(ExpertStore):
    """Counts for itself, at every layer, what the store holds: pages really there, and the readers'
    scratch."""

    def _forward(
        self, layer: int, hidden: torch.Tensor, index: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        out = super()._forward(layer, hidden, index, weight)
        slots = self.memory
        held = int((slots.key >= 0).sum()) + sum(load.slot >= 0 for load in self._placement._leaving)
        written = sum(bool(slots.memory(slot).any()) for slot in range(slots.slots))
        assert held <= written <= slots.slots
        scratch = self._reader._fetch.scratch_bytes + self._predictor.bytes  # type: ignore[attr-defined]
        assert written * slots.slot_bytes + scratch <= self.memory_bytes <= self.budget
        return out


Step = tuple[int, int, int]
"""Layer, tokens and seed of one pass."""
TRACES = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from((1, 1, 1, 2, 70)), st.integers(0, 20)), max_size=12
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RandomSource, PackedModel]:
    folder = tmp_path_factory.mktemp("packed")
    source = RandomSource(folder, hidden=256, intermediate=256, numbers="Q4_K")
    return source, convert(source, folder / "packed")


def outputs(store: ExpertStore, source: RandomSource, trace: list[Step]) -> list[torch.Tensor]:
    return [store.forward(layer, *routed(source, tokens, seed=seed)) for layer, tokens, seed in trace]


def least_budget(packed: PackedModel) -> int:
    with pytest.raises(EngineError, match="hold no experts of this model; give it") as refused:
        ExpertStore.open(packed, budget=0)
    store = ExpertStore.open(packed, budget=1 << 30)
    fixed, slot = store.memory_bytes, store.memory.slot_bytes
    store.close()
    assert f"give it {(fixed + 2 * slot) / 1e6:,.0f} MB" in str(refused.value)
    return fixed + 2 * slot


@settings(max_examples=25, deadline=None)
@given(trace=TRACES, more=st.integers(0, 14), on_device=st.integers(0, 4), ahead=st.booleans())
def test_the_same_bits_at_every_budget(
    packed: tuple[RandomSource, PackedModel], trace: list[Step], more: int, on_device: int, ahead: bool
) -> None:
    source, model = packed
    with ExpertStore.open(model, budget=1 << 30) as store:
        expected = outputs(store, source, trace)
        slot = store.memory.slot_bytes

    budget = least_budget(model) + more * slot
    with Accounted.open(
        model, budget=budget, device="cpu", device_budget=on_device * slot, read_ahead=ahead
    ) as store:
        assert store.memory.slots == 2 + more
        for got, wanted in zip(outputs(store, source, trace), expected, strict=True):
            assert torch.equal(got, wanted)
        counted = store.counters
        asked = sum(len(routed(source, tokens, seed=seed)[1].unique()) for _, tokens, seed in trace)
        assert counted.hits + counted.misses == asked
        assert counted.routing.sum() == sum(3 * tokens for _, tokens, _ in trace)
        assert counted.prefetch_used + counted.prefetch_wasted <= counted.prefetched


def test_less_than_two_experts_is_refused(packed: tuple[RandomSource, PackedModel]) -> None:
    least = least_budget(packed[1])
    with pytest.raises(EngineError, match="hold no experts"):
        ExpertStore.open(packed[1], budget=least - 1)
    ExpertStore.open(packed[1], budget=least).close()


def test_the_threads_end_with_the_store(packed: tuple[RandomSource, PackedModel]) -> None:
    source, model = packed
    before = set(threading.enumerate())
    store = ExpertStore.open(model, budget=least_budget(model))
    store.forward(1, *routed(source, 4))
    assert set(threading.enumerate()) > before
    store.close()
    store.close()
    assert set(threading.enumerate()) == before

    store = ExpertStore.open(model, budget=least_budget(model))
    del store
    assert set(threading.enumerate()) == before


def test_the_device_takes_the_hottest(packed: tuple[RandomSource, PackedModel]) -> None:
    source, model = packed
    hidden, _, weight = routed(source, 1)
    slot = least_budget(model)
    with ExpertStore.open(model, budget=1 << 30) as store:
        slot = store.memory.slot_bytes
    with ExpertStore.open(model, budget=1 << 30, device="cpu", device_budget=4 * slot) as store:
        for _ in range(5):
            store.forward(1, hidden, torch.tensor([[0, 1, 2]]), weight)
        store.forward(1, hidden, torch.tensor([[3, 4, 5]]), weight)
        assert store.device is not None
        assert sorted(store.device.key[store.device.key >= 0].tolist()) == [0, 1, 2]
        for _ in range(9):
            store.forward(1, hidden, torch.tensor([[5, 6, 7]]), weight)
        assert sorted(store.device.key[store.device.key >= 0].tolist()) == [5, 6, 7]
        assert store.counters.misses == 8  # nothing was read twice for its moves


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch has no CUDA device here")
@pytest.mark.parametrize("form", FORMS)
def test_a_device_computes_what_the_processor_does(form: str, tmp_path: Path) -> None:
    source = RandomSource(tmp_path, layers=1)
    packed = convert(source, tmp_path / "packed", form=form)
    hidden, index, weight = routed(source, 9)
    with ExpertStore.open(packed, budget=1 << 24) as store:
        expected = store.forward(1, hidden, index, weight)
        everything = (source.experts + 1) * store.memory.slot_bytes
    with ExpertStore.open(packed, budget=1 << 24, device="cuda", device_budget=everything) as store:
        for _ in range(source.experts):
            got = store.forward(1, hidden.cuda(), index.cuda(), weight.cuda()).cpu()
        assert store.counters.promoted == len(index.unique())
        assert (got - expected).norm() <= 0.02 * expected.norm()
