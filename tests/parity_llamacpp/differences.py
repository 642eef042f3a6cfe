"""How far two sets of logits are apart, and the table that the tests leave behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Difference:
    tokens: int
    same_top: float
    """Share of places where both would say the same token."""
    mean: float
    """Mean absolute difference of logits."""
    largest: float
    divergence: float
    """Mean KL divergence of the second from the first, in nats."""

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> Difference:
        """Both float32 [tokens, vocabulary]."""
        assert first.shape == second.shape, (first.shape, second.shape)
        apart = (first - second).abs()
        ours, theirs = first.double().log_softmax(-1), second.double().log_softmax(-1)
        return cls(
            len(first),
            float((first.argmax(-1) == second.argmax(-1)).double().mean()),
            float(apart.mean()),
            float(apart.max()),
            float((ours.exp() * (ours - theirs)).sum(-1).mean()),
        )


class Table:
    """Rows of `Difference`s in Markdown, printed when all tests are through."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def add(self, what: str, pair: str, seen: Difference) -> None:
        self.rows.append(
            f"| {what} | {pair} | {seen.tokens} | {seen.same_top:.1%} | {seen.mean:.2e} | {seen.largest:.2e}"
            f" | {seen.divergence:.2e} |"
        )

    def __str__(self) -> str:
        head = ["| File | Between | Tokens | Same top 1 | Mean difference | Largest | Mean KL, nats |"]
        return "\n".join([*head, "|---|---|---|---|---|---|---|", *self.rows])


TABLE = Table()
"""Of this run."""
