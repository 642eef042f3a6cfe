from __future__ import annotations

from typing import Any

import pytest

from agent.approval import Approvals
from agent.asking import Wish, brief, wish
from agent.events import Approval
from agent.options import RunOptions
from agent.rules import Rule, decision
from engine.request import ToolCall


def asked_for(name: str, **arguments: Any) -> Wish:
    call = ToolCall(id="c", name=name, arguments="")
    return wish(call, arguments, changes=name in ("write", "edit", "shell") or "command" in arguments)


class Person:
    """Approvals of a session, and somebody who answers each question in one way."""

    def __init__(
        self, answer: bool | None, *rules: Rule, approve: str = "ask", tier: str = "A", kind: str = "session"
    ):
        options = RunOptions.model_validate({"kind": kind, "approve": approve})
        self.said: list[str] = []
        self._answer = answer
        self.approvals = Approvals(options, self._hear, tier=tier, user_rules=rules)

    def _hear(self, event: Approval) -> None:
        self.said.append(event.decision)
        if event.decision == "asked":
            assert self._answer is not None, "nobody is there"
            self.approvals.answer(event.id, self._answer)

    async def denies(self, name: str, **arguments: Any) -> bool:
        return await self.approvals.denial(asked_for(name, **arguments)) is not None


EDIT: dict[str, Any] = {"name": "edit", "path": "a", "old": "b", "new": "c"}
RUN: dict[str, Any] = {"name": "shell", "command": "make -j2"}
COMMIT: dict[str, Any] = {"name": "shell", "command": "git add -A && git commit -m x"}
READ: dict[str, Any] = {"name": "read", "path": "a"}


@pytest.mark.parametrize("tier", ["A", "B"])
@pytest.mark.parametrize("approve", ["ask", "auto"])
async def test_what_stays_inside_needs_no_approval(tier: str, approve: str):
    person = Person(None, tier=tier, approve=approve)
    for call in (READ, EDIT, RUN):
        assert not await person.denies(**call)
    assert person.said == []


@pytest.mark.parametrize("verb", ["commit", "push", "merge x", "rebase main", "cherry-pick x", "pull"])
@pytest.mark.parametrize("allowed", [True, False])
async def test_committing_and_pushing_need_one(verb: str, allowed: bool):
    person = Person(allowed)

    assert await person.denies("shell", command=f"git {verb}") is not allowed
    assert person.said == ["asked", "allowed" if allowed else "denied"]
    assert await Person(None, approve="auto", kind="run").denies("test", command=f"git {verb}")


async def test_each_command_needs_one_in_tier_c_and_without_a_sandbox():
    for tier in ("C", "none"):
        person = Person(True, tier=tier)
        for call in (READ, EDIT, RUN):
            assert not await person.denies(**call)
        assert person.said == ["asked", "allowed"], "for the command alone"
    assert await Person(None, tier="C", approve="auto", kind="run").denies(**RUN)
    assert not await Person(None, tier="none", approve="auto", kind="run").denies(**RUN), (
        "the option allowed it"
    )


async def test_an_allowing_rule_spares_the_question():
    rule = Rule(decision="allow", command="make")
    for call, denied in ((RUN, False), ({**RUN, "command": "make; rm -rf ."}, True)):
        assert await Person(None, rule, tier="C", approve="auto", kind="run").denies(**call) is denied
    assert not await Person(None, rule, approve="ask", kind="run").denies(**RUN)
    assert not await Person(None, Rule(decision="allow", command="git commit")).denies(
        "shell", command="git commit"
    )


async def test_an_asking_rule():
    person = Person(True, Rule(decision="ask", tool="write"))

    assert not await person.denies("write", path="a", content="b") and person.said == ["asked", "allowed"]
    assert not await person.denies(**EDIT) and len(person.said) == 2


@pytest.mark.parametrize("approve", ["auto", "ask", "read-only"])
async def test_a_denying_rule_holds_in_every_mode(approve: str):
    rules = [Rule(decision="allow"), Rule(decision="ask"), Rule(decision="deny", command="make")]

    assert await Person(True, *rules, approve=approve).denies("test", command="cd a && /usr/bin/make x")
    assert await Person(True, Rule(decision="deny", tool="read"), approve=approve).denies(**READ)


async def test_read_only_allows_no_change_whatever_the_rules_say():
    person = Person(None, Rule(decision="allow"), approve="read-only")

    assert await person.denies(**EDIT) and await person.denies(**RUN) and not await person.denies(**READ)


def test_the_strictest_rule_wins():
    allow, ask, deny = (Rule(decision=said) for said in ("allow", "ask", "deny"))

    assert decision([allow, deny, ask], "read", None) == "deny"
    assert decision([allow, ask], "read", None) == "ask"
    assert decision([allow], "read", None) == "allow" and decision([], "read", None) is None


def test_all_that_would_run_is_shown():
    command = "true " + " " * 300 + "\n\n; rm -rf . # \u202etxt.exe\x1b[2K\u200b"

    shown = asked_for("shell", command=command, cwd="a\nb").what
    assert shown == "shell (in a\nb) " + command.replace("\u202e", "\\u202e").replace(
        "\x1b", "\\u001b"
    ).replace("\u200b", "\\u200b")
    assert asked_for("test", command="make").what == "test make"


def test_all_that_would_be_written_is_shown():
    asked = asked_for("write", content="one\ntwo\x07", path="a\nb.txt")

    assert (asked.what, asked.detail) == ("write a\\nb.txt", "content: \none\ntwo\\u0007")
    assert asked_for("read", path="a").detail == ""


def test_a_denial_in_a_sentence_is_one_short_line():
    assert brief("shell a\n\n b\x1b[2K") == "shell a b" and len(brief("x" * 500)) == 120
