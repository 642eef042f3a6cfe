"""What a search asks of an engine, and what it hands to the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.search.candidates import Edit
from engine.request import BranchRequest, Continuation, ScoredToken, ScoreRequest


class SearchEngine(Protocol):
    async def score(self, request: ScoreRequest) -> list[ScoredToken]: ...

    async def branch(self, request: BranchRequest) -> list[Continuation]: ...


@dataclass(frozen=True)
class Batch:
    """Edits of one request to the engine."""

    edits: list[Edit]
    """Best first."""
    branches: int = 0
    generated: int = 0
    """Tokens."""
