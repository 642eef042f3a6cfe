"""The int8 layer against float32, on ordinary and on adversarial input."""

from __future__ import annotations

import pytest
import torch

from engine.quantised import QuantisedLinear, quantise_rows, use_fbgemm


@pytest.fixture(autouse=True)
def fbgemm() -> None:
    use_fbgemm()


def layer_and_weights(weights: torch.Tensor) -> tuple[QuantisedLinear, torch.Tensor]:
    """The layer, and the float32 weights that its int8 stands for: what is left is its own arithmetic."""
    quantised, scales = quantise_rows(weights.clone())
    return QuantisedLinear(quantised, scales), quantised.float() * scales[:, None]


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return (got - expected).norm(dim=1) / expected.norm(dim=1).clamp_(min=1e-20)


INPUTS = {
    "gaussian": lambda batch, columns: torch.randn(batch, columns),
    "all at the maximum": lambda batch, columns: torch.ones(batch, columns),
    "all at the minimum": lambda batch, columns: -torch.ones(batch, columns),
    "rows of many sizes": lambda batch, columns: torch.randn(batch, columns)
    * torch.linspace(1, 1e4, batch)[:, None],
    "large channels": lambda batch, columns: torch.randn(batch, columns)
    * torch.where(torch.arange(columns) % 97 == 0, 100.0, 1.0),
    "tiny": lambda batch, columns: torch.randn(batch, columns) * 1e-30,
    "denormal": lambda batch, columns: torch.full((batch, columns), 1e-42),
    "huge": lambda batch, columns: torch.randn(batch, columns) * 1e15,
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 33), (96, 64), (130, 1536)])
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_no_overflow_and_14_bits_a_row(name: str, rows: int, columns: int, batch: int) -> None:
    torch.manual_seed(0)
    for weights in (torch.randn(rows, columns), torch.ones(rows, columns), -torch.ones(rows, columns)):
        layer, exact_weights = layer_and_weights(weights)
        x = INPUTS[name](batch, columns)

        error = (layer(x.clone()) - x @ exact_weights.T).abs().amax(dim=1)

        # Worst case: every activation off by half a fine step, all errors of one sign.
        fine_step = x.abs().amax(dim=1) / 63 / 126
        bound = fine_step * exact_weights.abs().sum(dim=1).max() * 0.51 + 1e-5 * x.abs().sum(dim=1) * 4
        assert (error <= bound.clamp(min=1e-30)).all()


def test_a_row_is_the_same_alone_and_in_a_batch() -> None:
    torch.manual_seed(1)
    layer, _ = layer_and_weights(torch.randn(64, 256))
    x = torch.randn(16, 256) * torch.logspace(-3, 3, 16)[:, None]

    together = layer(x.clone())
    alone = torch.cat([layer(row[None].clone()) for row in x])

    assert torch.equal(together, alone)


def test_input_is_not_changed() -> None:
    layer, _ = layer_and_weights(torch.randn(8, 32))
    x = torch.randn(4, 32)
    before = x.clone()
    layer(x)

    assert torch.equal(x, before)


def test_zero_rows_give_the_bias() -> None:
    quantised, scales = quantise_rows(torch.zeros(4, 32))
    layer = QuantisedLinear(quantised, scales, bias=torch.arange(4.0))

    assert torch.equal(layer(torch.zeros(2, 32)), torch.arange(4.0).repeat(2, 1))


def test_int8_rows_are_within_half_a_step() -> None:
    weights = torch.randn(32, 512)
    quantised, scales = quantise_rows(weights.clone())

    assert (quantised.float() * scales[:, None] - weights).abs().le(scales[:, None] * 0.5001).all()
