"""Who decides whether a call may run: the sandbox, the user's rules, or a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agent import rules
from agent.asking import Wish
from agent.events import Approval
from agent.options import RunOptions

WEAK_TIER = "C"
"""No mounts and no process namespace: a command is not left to the sandbox alone."""
NO_TIER = "none"
"""Without a sandbox; who asked for that without a person there (`auto`) has approved of it."""


class Approvals:
    """Few calls need an approval: reading, writing and running inside need none where the sandbox holds.

    Needing one are commits and pushes, every command in tier C, and what a rule of the user's says. `auto`
    denies such a call, `ask` asks a person. Where nobody can be asked, `ask` denies all
    that changes anything; `read-only` does so always. A rule that denies holds in every mode; one that allows
    spares the question.
    """

    def __init__(
        self,
        options: RunOptions,
        emit: Callable[[Approval], None],
        denied: Sequence[str] = (),
        *,
        tier: str = "A",
        user_rules: Sequence[rules.Rule] = (),
    ) -> None:
        self._mode = options.approve
        self._someone_there = options.kind == "session"
        self._emit = emit
        self._tier = tier
        self._rules = tuple(user_rules)
        self.committed = False
        """A command that commits or publishes was let through."""
        self.on_commit: Callable[[], None] = lambda: None
        """Called each time, before the command runs: a resumed session has to know of it."""
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self.denied = list(denied)
        """What was denied, in the words of the `approval` events."""

    async def denial(self, wish: Wish) -> str | None:
        """None where a call may run, else why it may not. Waits only for a person who is there."""
        denial = await self._denial(wish)
        if denial is None and wish.command is not None and rules.commits(wish.command):
            self.committed = True
            self.on_commit()
        return denial

    async def _denial(self, wish: Wish) -> str | None:
        ruled = rules.decision(self._rules, wish.tool, wish.command)
        if ruled == "deny":
            return self._deny(wish, "a rule in the user's config denies it")
        if self._mode == "read-only" and wish.changes:
            return self._deny(wish, "nothing may be written with --approve read-only")
        needs = "a rule in the user's config asks for an approval" if ruled == "ask" else self._needs(wish)
        if needs is None or ruled == "allow":
            return None
        if self._mode != "ask":
            return self._deny(wish, f"{needs}, and nobody is asked with --approve {self._mode}")
        if not self._someone_there:
            return self._deny(wish, "nobody can be asked in a headless run")
        return await self._answered(wish)

    def _needs(self, wish: Wish) -> str | None:
        """Why a call needs an approval; None where it needs none."""
        if wish.command is not None:
            if rules.commits(wish.command):
                return "committing and pushing need an approval"
            if self._tier == WEAK_TIER:
                return "each command needs an approval in a sandbox of tier C"
            if self._tier == NO_TIER and self._mode == "ask":
                return "each command needs an approval without a sandbox"
        if wish.changes and self._mode == "ask" and not self._someone_there:
            return "a person decides with --approve ask"
        return None

    async def _answered(self, wish: Wish) -> str | None:
        self._asked[wish.call_id] = asyncio.get_running_loop().create_future()
        self._emit(Approval(id=wish.call_id, what=wish.what, detail=wish.detail, decision="asked"))
        try:
            allowed = await self._asked[wish.call_id]
        finally:
            del self._asked[wish.call_id]
        if not allowed:
            return self._deny(wish, "the user said no")
        self._emit(Approval(id=wish.call_id, what=wish.what, decision="allowed"))
        return None

    @property
    def waiting(self) -> bool:
        """Whether a person is being asked."""
        return bool(self._asked)

    def answer(self, call_id: str, allowed: bool) -> None:
        """A person's answer; one that nobody waits for any more is dropped."""
        asked = self._asked.get(call_id)
        if asked and not asked.done():
            asked.set_result(allowed)

    def _deny(self, wish: Wish, why: str) -> str:
        self.denied.append(wish.what)
        self._emit(Approval(id=wish.call_id, what=wish.what, decision="denied"))
        return why
