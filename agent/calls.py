"""Running the calls of one answer: each gets a result, whatever the model wrote."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from agent.asking import wish
from agent.context import fenced
from agent.ending import EnvironmentProblem
from agent.events import AnyEvent, ToolCallEvent, ToolOutput, ToolResultEvent
from agent.gathering import Gathered
from agent.prompts import prompt
from agent.recovery import recovered
from agent.session import Session
from engine.request import Message, ToolCall, ToolSpec
from tools import NotKept, Tool, ToolContext, ToolResult, builtin_tools, validate

SAME = 3
"""The same call as often as this in a row is not run again."""
WRITERS = ("edit", "write")
"""Tools that leave one whole file, which they name."""
MOST_CHARACTERS = 10_000
"""Of one result, and no more than a tenth of the context."""
CHARACTERS_A_TOKEN = 3


@dataclass(frozen=True)
class _Answer:
    result: ToolResult
    ran: bool = False
    """A tool ran, so that the text is data and not Ostro's own words."""
    mutated: bool = False
    """It may have changed files."""


class Caller:
    """The tools of a session, and what they may do in it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read_only = session.options.approve == "read-only"
        self._tools = builtin_tools()
        self.specs = [
            ToolSpec(name=tool.name, description=tool.description, parameters=tool.parameters())
            for tool in self._tools.values()
            if not (self._read_only and tool.mutates)
        ]
        """What the model is offered; with `read-only` only what changes nothing."""

    async def run(self, calls: Sequence[ToolCall]) -> AsyncIterator[AnyEvent]:
        """Runs the calls in their order; each result goes into the history as it comes."""
        session = self._session
        for written in calls:
            call = self._meant(written)
            arguments = _object(call)
            yield ToolCallEvent(
                id=call.id, name=call.name, arguments=call.arguments if arguments is None else arguments
            )
            started = time.monotonic()
            answer = await self._answer(call, arguments)
            result = answer.result
            seen = fenced(result.text) if answer.ran else result.text
            session.add(Message(role="tool", content=seen, tool_call_id=call.id))
            yield ToolResultEvent(
                id=call.id,
                ok=result.ok,
                text=result.text,
                seconds=round(time.monotonic() - started, 3),
                data=result.data,
            )
            if answer.mutated:
                if result.ok and call.name in WRITERS and (path := result.data.get("path")):
                    session.wrote(path, await session.workspace.read(path))
                await session.checkpoint(f"after {call.name}")

    def _meant(self, call: ToolCall) -> ToolCall:
        """A malformed call put right where it can mean one thing only."""
        tool = self._tools.get(call.name)
        text = recovered(call, tool.parameters()) if tool else None
        return call.model_copy(update={"arguments": text, "problem": None}) if text else call

    async def _answer(self, call: ToolCall, arguments: dict[str, Any] | None) -> _Answer:
        session = self._session
        if _times_in_a_row(session.history, call.id) >= SAME:
            session.signals = replace(session.signals, stuck=session.signals.stuck + 1)
            return _refusal(prompt("repeated_call"))
        if call.problem:
            session.signals = replace(session.signals, malformed=session.signals.malformed + 1)
            return _refusal(prompt("malformed_call", problem=call.problem))
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(spec.name for spec in self.specs)
            return _refusal(prompt("unknown_tool", tool=call.name or "(no name)", known=known))
        parsed = validate(tool, call.arguments)
        if isinstance(parsed, str) or arguments is None:
            session.signals = replace(session.signals, malformed=session.signals.malformed + 1)
            return _refusal(str(parsed))
        # A test command of the model's own runs anything that a shell would; read-only runs it on a copy.
        acts = tool.mutates or (call.name == "test" and "command" in arguments and not self._read_only)
        if why := await session.approvals.denial(wish(call, arguments, changes=acts)):
            return _refusal(prompt("denied_call", why=why))

        result = await self._run(tool, parsed, call)
        return _Answer(result, ran=True, mutated=tool.mutates or "exit_code" in result.data)

    async def _run(self, tool: Tool, arguments: Any, call: ToolCall) -> ToolResult:
        session = self._session
        output = Gathered(lambda text: session.emit(ToolOutput(id=call.id, text=text)))
        context = ToolContext(
            workspace=session.workspace,
            outputs=session.outputs,
            on_output=output.push,
            read_only=self._read_only,
            test_command=session.options.command or session.options.verify,
            test_cwd=session.cwd,
            budget=min(MOST_CHARACTERS, session.engine.capabilities.context * CHARACTERS_A_TOKEN // 10),
        )
        try:
            return await tool.run(arguments, context)
        except NotKept as problem:
            raise EnvironmentProblem(str(problem), verified=session.verified) from problem
        finally:
            output.close()


def _refusal(text: str) -> _Answer:
    return _Answer(ToolResult(ok=False, text=text))


def _object(call: ToolCall) -> dict[str, Any] | None:
    try:
        arguments = json.loads(call.arguments, strict=False)
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None


def _times_in_a_row(history: Sequence[Message], call_id: str) -> int:
    """How often the latest calls, up to and with this one, were exactly the same."""
    made: list[ToolCall] = []
    for message in reversed(history):
        if message.role == "user":
            break
        made += reversed(message.tool_calls)
    ids = [call.id for call in made]
    made = made[ids.index(call_id) :] if call_id in ids else []
    same = (call.name == made[0].name and call.arguments == made[0].arguments for call in made)
    return sum(takewhile(bool, same))
