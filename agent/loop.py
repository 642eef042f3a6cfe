"""The tool loop: ask the model, run its calls, feed the results back, until it is done.

Everything it does shows as events; everything the model is told goes through `session.add`, which
keeps it in the journal. It holds no state of its own, so a resumed session just calls it again.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from agent.calls import Caller
from agent.effort import decide
from agent.ending import LimitReached, Unsolved
from agent.events import AnyEvent, EffortChange, Text, Thinking, Warn
from agent.goal import Goal
from agent.instructions import system_message
from agent.mentions import with_files
from agent.prompts import prompt
from agent.resume import open_calls
from agent.session import Session
from agent.spelled_call import spelled_call
from agent.verify import require_program
from engine.errors import EngineDied, ImageMissing
from engine.request import Effort, Message, TextDelta, ThinkingDelta, ToolCallDelta, ToolSpec, Usage

Until = Callable[[], Awaitable[str | None]]
"""Checks whether the goal is reached, emitting its own events; None, or what is still wrong."""
ROUNDS = 4
"""Failed checks after which the loop gives up."""
STUCK = 3
"""Repeated calls, repeated answers and endless ones that get a hint before the loop gives up."""


async def turn(session: Session) -> AsyncIterator[AnyEvent]:
    """One turn of `run` or of an interactive session, its messages taken from the session."""
    messages = []
    if not session.history:
        messages.append(await system_message(session))
        if session.options.kind == "run":
            images = await session.pictures.take()
            messages.append(Message(role="user", content=await task_text(session), images=images))
    if session.inbox:  # before anything that may fail, for with them left there the turn would begin again
        for message in messages:
            session.add(message)
        messages.clear()
        await _hear(session)

    command = session.options.verify
    if not command:
        async for event in tool_loop(session, messages):
            yield event
        return
    await require_program(session, command)
    goal = Goal(session, command)
    async for event in tool_loop(session, messages, until=goal):
        yield event
    if not session.verified:
        await goal.confirm()


async def task_text(session: Session) -> str:
    """What the user asked for, what must pass, and the files that this names."""
    text = prompt("task", task=session.options.task or "")
    if session.options.verify:
        text += "\n\n" + prompt("verify", command=shlex.join(session.options.verify))
    return await with_files(session.workspace, text, session.cwd)


async def tool_loop(
    session: Session,
    messages: Sequence[Message] = (),
    *,
    until: Until | None = None,
    after_edits: bool = False,
    rounds: int = ROUNDS,
) -> AsyncIterator[AnyEvent]:
    """Adds `messages` to the history and goes on until the model answers without a call.

    With `until`, that answer counts only where `until` returns None; else its text goes back to the
    model. `after_edits` asks `until` after every step that changed a file as well. Raises Unsolved
    after `rounds` failed checks or where the model does not get unstuck; Ending and EngineError pass.
    """
    for message in messages:
        session.add(message)
    caller = Caller(session)
    await session.open_engine()

    failed = 0
    checked = session.start_tree  # the tree when `until` was asked last
    while True:
        await _hear(session)
        try:
            if not _answered(session):
                async for event in _ask(session, caller.specs):
                    yield event
        except LimitReached:
            if until and session.last_tree != checked and await until() is None:
                return
            raise

        edited = False
        if calls := open_calls(session.history):
            tree = session.last_tree
            async for event in caller.run(calls):
                yield event
            edited = session.last_tree != tree
        elif _says_it_again(session):
            session.signals = replace(session.signals, stuck=session.signals.stuck + 1)
        if session.signals.stuck >= STUCK:
            # It may be done without knowing it.
            if until and session.last_tree != checked and await until() is None:
                return
            raise Unsolved("The model did not get unstuck.", verified=_unverified(until))
        if calls:
            if not (edited and after_edits):
                continue
        elif session.inbox or not _answered(session):
            continue
        elif refusal := _no_answer(session, caller.specs):
            session.add(refusal)
            continue

        if until is None:
            return
        wrong = await until()
        checked = session.last_tree
        if wrong is None:
            return
        failed += 1
        session.signals = replace(session.signals, failed_checks=session.signals.failed_checks + 1)
        if failed >= rounds:
            raise Unsolved(f"Not solved after {failed} attempts.", verified=False)
        session.add(Message(role="user", content=wrong))


async def _hear(session: Session) -> None:
    """Tells the model the messages of the user's, also where images cannot come along now."""
    while session.inbox:
        text = session.inbox.popleft()
        images = ()
        try:
            text = await with_files(session.workspace, text, session.cwd)
            images = await session.pictures.take()
        finally:
            session.add(Message(role="user", content=text, images=images))


def _answered(session: Session) -> bool:
    """Whether the last word is the model's: a final answer, or calls that have not run yet."""
    return bool(session.history) and session.history[-1].role == "assistant"


def _says_it_again(session: Session) -> bool:
    """Whether the last word is an answer without a call, the same as the one before it."""
    said = [message for message in session.history[-3:] if message.role == "assistant"]
    if len(said) < 2 or not _answered(session):
        return False
    return said[-1].content == said[-2].content and not said[-2].tool_calls


def _no_answer(session: Session, tools: Sequence[ToolSpec]) -> Message | None:
    """What to say to an answer that only spells a call; said once, for it may be what was asked for."""
    name = spelled_call(session.history[-1].content)
    if name is None:
        return None
    known = ", ".join(tool.name for tool in tools)
    refusal = Message(role="user", content=prompt("spelled_call", tool=name, known=known))
    if len(session.history) > 1 and session.history[-2] == refusal:
        return None
    session.signals = replace(session.signals, malformed=session.signals.malformed + 1)
    return refusal


def _unverified(until: Until | None) -> bool | None:
    return None if until is None else False


async def _ask(session: Session, tools: Sequence[ToolSpec]) -> AsyncIterator[AnyEvent]:
    """One request and its answer, which ends up in the history. An engine that dies is reopened once."""
    decision = decide(session.signals, session.options.effort)
    if decision.effort != session.effort:
        session.effort = decision.effort
        yield EffortChange(effort=decision.effort.value, reasons=decision.reasons)
    yield session.step("tools", decision.effort.value)
    try:
        async for event in _answer(session, tools, decision.effort):
            yield event
    except EngineDied as error:
        yield Warn(text=f"{error} It is started again.")
        await session.reopen_engine()
        async for event in _answer(session, tools, decision.effort):
            yield event
    except ImageMissing:  # the engine has room for some images only, and other clients
        await session.pictures.show_again()
        async for event in _answer(session, tools, decision.effort):
            yield event


async def _answer(session: Session, tools: Sequence[ToolSpec], effort: Effort) -> AsyncIterator[AnyEvent]:
    request, cut = await session.context.request(session.engine, session.history, tools, effort)
    if cut:
        yield Warn(text=f"The context was full: {cut} older tool outputs were shortened.")

    text, thinking, calls, usage = "", "", [], None
    async with aclosing(session.engine.chat(request)) as deltas:
        async for delta in deltas:
            session.heartbeat.hear(delta)
            match delta:
                case TextDelta():
                    text += delta.text
                    yield Text(text=delta.text)
                case ThinkingDelta():
                    thinking += delta.text
                    yield Thinking(text=delta.text)
                case ToolCallDelta():
                    calls.append(delta.call)
                case Usage():
                    usage = delta
                    yield session.usage(delta, effort.value)
    session.add(
        Message(
            role="assistant",
            content=text,
            thinking=thinking,
            tool_calls=tuple(calls),
            token_ids=usage.token_ids if usage else None,
        )
    )
    if usage and usage.finish == "length" and not calls:
        session.signals = replace(session.signals, stuck=session.signals.stuck + 1)
        session.add(Message(role="user", content=prompt("cut_answer")))
