from __future__ import annotations

from agent.ending import EnvironmentProblem


def test_a_reason_that_quotes_a_command_holds_no_escapes():
    ending = EnvironmentProblem("`make` could not be run: \x1b]52;c;aGk=\x07\x1b[2Jevil\x9b31m\u202e.")

    assert ending.reason == str(ending) == ending.event().reason == "`make` could not be run: evil."
