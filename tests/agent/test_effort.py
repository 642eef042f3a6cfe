from __future__ import annotations

from agent.effort import Signals, decide
from engine.request import Effort


def test_none_until_an_attempt_has_failed():
    assert decide(Signals()).effort is Effort.NONE
    assert decide(Signals(malformed=5)).effort is Effort.NONE


def test_high_after_a_failed_attempt_with_the_reason():
    decision = decide(Signals(failed_checks=2))

    assert decision.effort is Effort.HIGH
    assert decision.reasons == ["the command still failed after 2 attempts"]


def test_high_when_stuck():
    assert decide(Signals(stuck=1)).effort is Effort.HIGH
    assert "stuck 1 time:" in decide(Signals(stuck=1)).reasons[0]


def test_pinned():
    assert decide(Signals(failed_checks=9), "none").effort is Effort.NONE
    assert decide(Signals(), "high").reasons == ["pinned by --effort high"]
