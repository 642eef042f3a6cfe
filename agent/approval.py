"""Who decides whether a tool that changes something may run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agent.events import Approval
from agent.options import RunOptions


class Approvals:
    """`auto` allows what the sandbox allows; `ask` asks a person, or denies where none can answer."""

    def __init__(
        self, options: RunOptions, emit: Callable[[Approval], None], denied: Sequence[str] = ()
    ) -> None:
        self._mode = options.approve
        self._someone_there = options.kind == "session"
        self._emit = emit
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self.denied = list(denied)
        """What was denied, in the words of the `approval` events."""

    async def denial(self, call_id: str, what: str) -> str | None:
        """None where `what` may run, else why it may not. Waits only for a person who is there."""
        if self._mode == "auto":
            return None
        if self._mode == "read-only":
            return self._deny(call_id, what, "nothing may be written with --approve read-only")
        if not self._someone_there:
            return self._deny(call_id, what, "nobody can be asked in a headless run")

        self._asked[call_id] = asyncio.get_running_loop().create_future()
        self._emit(Approval(id=call_id, what=what, decision="asked"))
        try:
            allowed = await self._asked[call_id]
        finally:
            del self._asked[call_id]
        if not allowed:
            return self._deny(call_id, what, "the user said no")
        self._emit(Approval(id=call_id, what=what, decision="allowed"))
        return None

    def answer(self, call_id: str, allowed: bool) -> None:
        """A person's answer; one that nobody waits for any more is dropped."""
        asked = self._asked.get(call_id)
        if asked and not asked.done():
            asked.set_result(allowed)

    def _deny(self, call_id: str, what: str, why: str) -> str:
        self.denied.append(what)
        self._emit(Approval(id=call_id, what=what, decision="denied"))
        return why
