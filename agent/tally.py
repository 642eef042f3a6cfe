"""What a run has used so far: steps, their effort, tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.events import Tokens, UsageEvent
from engine.request import Usage

Level = Literal["none", "high"]


@dataclass
class Tally:
    steps: int = 0
    effort: dict[str, int] = field(default_factory=dict)
    """Steps at each level of effort."""
    tokens: Tokens = field(default_factory=Tokens)

    def step(self, effort: str) -> int:
        """Counts one step; its number, from 1."""
        self.steps += 1
        self.effort[effort] = self.effort.get(effort, 0) + 1
        return self.steps

    def spend(self, **counts: int) -> None:
        """Adds to the fields of `Tokens`, by name."""
        now = self.tokens
        self.tokens = now.model_copy(update={name: getattr(now, name) + n for name, n in counts.items()})

    def answer(self, usage: Usage, effort: Level) -> UsageEvent:
        """Counts the tokens of one answer and gives the event that reports them."""
        self.spend(prompt=usage.prompt, cached=usage.cached, generated=usage.generated)
        return UsageEvent(
            prompt=usage.prompt,
            cached=usage.cached,
            generated=usage.generated,
            effort=effort,
            prefill_seconds=usage.prefill_seconds,
            decode_seconds=usage.decode_seconds,
        )
