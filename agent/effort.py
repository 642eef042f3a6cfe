"""How hard the next step thinks: a pure function of what was recorded, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.request import Effort


@dataclass(frozen=True)
class Signals:
    """Counts since the turn began; they only grow."""

    failed_checks: int = 0
    """Times the model said it was finished, or edited, and the command still failed."""
    stuck: int = 0
    """Times it made the same call three times in a row, said the same again, or did not come to an end."""
    malformed: int = 0
    """Tool calls that could not be read."""


@dataclass(frozen=True)
class Decision:
    effort: Effort
    reasons: list[str]


def decide(signals: Signals, pinned: Literal["auto", "none", "high"] = "auto") -> Decision:
    """`none` until an attempt has failed, then `high` to the end of the turn.

    It never goes back within a turn: a change of effort costs the cached prompt of families that
    write it before the conversation.
    """
    if pinned != "auto":
        return Decision(Effort(pinned), [f"pinned by --effort {pinned}"])

    reasons = []
    if signals.failed_checks:
        reasons.append(f"the command still failed after {_times(signals.failed_checks, 'attempt')}")
    if signals.stuck:
        reasons.append(
            f"it was stuck {_times(signals.stuck, 'time')}: a repeated call or answer, or one without end"
        )
    if reasons:
        return Decision(Effort.HIGH, reasons)
    return Decision(Effort.NONE, ["no attempt has failed yet"])


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
