"""Drives the search of one session: edits are proposed, tried, and the one that passes is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from agent.asking import Wish
from agent.ending import Refused
from agent.events import AnyEvent, Candidate, EffortChange, Warn
from agent.search.batch import Batch, SearchEngine
from agent.search.branching import propose
from agent.search.candidates import Edit, Sieve
from agent.search.case import Case
from agent.search.localise import Suspect
from agent.search.missing import propose_bindings
from agent.search.rewrite import Attempt, attempts, edit_from_answer, request
from agent.search.trial import Trial, Trials, drop_bytecode, encode
from agent.verify import check_command
from engine.errors import ContextOverflow
from engine.request import Effort, TextDelta, ThinkingDelta, Usage

if TYPE_CHECKING:
    from agent.session import Session

MOST_BRANCHES = 240
LINES_SHOWN = 12


class Repair:
    """`winner` is the edit that stands verified in the workspace, once there is one."""

    def __init__(self, session: Session, case: Case, trials: Trials) -> None:
        self.winner: Edit | None = None
        self._session = session
        self._case = case
        self._trials = trials
        self._tried = 0
        self._sieves = {file: Sieve(file, source) for file, source in case.sources.items()}

    async def by_surprise(self, seconds: float) -> AsyncIterator[AnyEvent]:
        """Follows the model's surprises until one passes, none is left, or the time is spent."""
        session, case = self._session, self._case
        engine = await session.open_engine()
        until = time.monotonic() + seconds
        can = engine.capabilities
        if not (can.score and can.branch) or not case.suspects:
            return
        yield session.step("search")
        branches = 0
        batches = self._batches(engine)
        async with aclosing(batches):
            async for batch in batches:
                branches += batch.branches
                session.spend(generated=batch.generated)
                async for event in self._try(batch.edits, until):
                    yield event
                if self.winner is not None or time.monotonic() > until or branches >= MOST_BRANCHES:
                    return

    async def _batches(self, engine: SearchEngine) -> AsyncGenerator[Batch, None]:
        """First what the error itself asks for, then what surprises."""
        case = self._case
        named = propose_bindings(
            engine, case.output, case.suspects[:4], case.sources, case.tests, self._sieves
        )
        async with aclosing(named):
            async for batch in named:
                yield batch
        surprising = propose(
            engine, case.suspects, case.sources, case.tests, sieves=self._sieves, on_score=self._scored
        )
        async with aclosing(surprising):
            async for batch in surprising:
                yield batch

    async def by_rewriting(self, seconds: float) -> AsyncIterator[AnyEvent]:
        """Lets the chat model write the likeliest functions anew, a few times, with more effort last."""
        session, case = self._session, self._case
        await session.open_engine()
        until = time.monotonic() + seconds
        pinned = session.options.effort
        for attempt in attempts(case.suspects, session.options.seed or 0):
            if time.monotonic() > until:
                return
            if pinned != "auto" and attempt.effort.value != pinned:
                continue
            yield session.step("search", attempt.effort.value)
            if attempt.effort is not session.effort:
                session.effort = attempt.effort
                yield EffortChange(
                    effort=cast(Any, attempt.effort.value), reasons=["no rewrite has passed yet"]
                )
            answer: list[str] = []
            async for event in self._ask(attempt, answer, until):
                yield event
            edit = edit_from_answer("".join(answer), attempt.suspect, self._sieves[attempt.suspect.file])
            if edit is None:
                continue
            async for event in self._try([edit], until):
                yield event
            if self.winner is not None:
                return
        if session.effort is Effort.HIGH:  # the tool loop goes on from there
            session.signals = replace(session.signals, failed_checks=session.signals.failed_checks + 1)

    async def _ask(self, attempt: Attempt, answer: list[str], until: float) -> AsyncIterator[AnyEvent]:
        """Fills `answer` with the text of one chat answer, as far as it came in time."""
        session = self._session
        try:
            async with aclosing(session.engine.chat(request(self._case, attempt))) as deltas:
                async for delta in deltas:
                    session.heartbeat.hear(delta)
                    if isinstance(delta, TextDelta):
                        answer.append(delta.text)
                    elif isinstance(delta, Usage):
                        yield session.usage(delta, cast(Any, attempt.effort.value))
                    elif isinstance(delta, ThinkingDelta) and time.monotonic() > until:
                        return
        except ContextOverflow as problem:
            yield Warn(text=f"{attempt.suspect.name} was not rewritten: {problem}")

    async def _try(self, edits: Sequence[Edit], until: float) -> AsyncIterator[AnyEvent]:
        for together in _chunks(edits, self._trials.width):
            self._session.check()
            trials = await _gather(self._trials.run(edit) for edit in together)
            for trial in trials:
                yield self._event(trial)
            for trial in sorted(trials, key=lambda trial: trial.edit.size):
                if trial.verdict == "passed" and await self._apply(trial.edit):
                    return
            if time.monotonic() > until:
                return

    async def _apply(self, edit: Edit) -> bool:
        """Writes the edit into the workspace and runs the command there; takes it back where that fails."""
        session, original = self._session, self._case.originals[edit.file]
        what = f"change {edit.file}"
        if why := await session.approvals.denial(Wish("repair", "edit", True, None, what)):
            raise Refused(f"A change of {edit.file} would repair it, but {why}.", verified=False)
        if await session.workspace.read(edit.file) != original:
            session.emit(Warn(text=f"{edit.file} was changed by someone else meanwhile; it is left alone."))
            return False
        candidate = encode(edit.source, original)
        session.expect(edit.file, candidate)
        try:
            await session.workspace.write(edit.file, candidate)
            await drop_bytecode(session.workspace, edit.file)
            check = await check_command(session, list(self._trials.judge.command))
            session.verified = check.passed
        except BaseException:
            await asyncio.shield(self._take_back(edit.file, candidate, original))
            raise
        if not check.passed:
            await self._take_back(edit.file, candidate, original)
            return False
        session.wrote(edit.file, candidate)
        session.expect(edit.file, None)
        await session.checkpoint(f"repaired {edit.file}")
        self.winner = edit
        return True

    async def _take_back(self, file: str, candidate: bytes, original: bytes) -> None:
        """Unless someone else has written it since."""
        workspace = self._session.workspace
        if await workspace.read(file) == candidate:
            await workspace.write(file, original)
            await drop_bytecode(workspace, file)
        self._session.expect(file, None)

    def _event(self, trial: Trial) -> Candidate:
        self._tried += 1
        edit = trial.edit
        return Candidate(
            n=self._tried,
            file=edit.file,
            line=edit.line,
            before=_shown(edit.before),
            after=_shown(edit.after),
            verdict=trial.verdict,
            passed=trial.report.passed,
            failed=trial.report.failed,
        )

    def _scored(self, suspect: Suspect, tokens: int) -> None:
        self._session.check()
        self._session.spend(prompt=tokens)


async def _gather(runs: Iterable[Any]) -> list[Trial]:
    """All of them; where one raises or this is cancelled, none is left running."""
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _chunks(edits: Sequence[Edit], size: int) -> Iterable[Sequence[Edit]]:
    for at in range(0, len(edits), size):
        yield edits[at : at + size]


def _shown(text: str) -> str:
    lines = text.split("\n")
    return text if len(lines) <= LINES_SHOWN else "\n".join([*lines[:LINES_SHOWN], "..."])
