"""A session: one run of the agent over one repository, seen from outside as a stream of events.

`run` yields every event, stamped and journalled, and always ends with one `end`; `send` is the way
back. The work itself (`agent.loop`, `agent.fix`) runs in a task of its own, so that an interrupt or
the time limit stops it wherever it stands: in a prefill, in a command, between two tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, cast

from agent.approval import Approvals
from agent.cancelling import cancelled
from agent.chat_engine import ChatEngine, OpenEngine
from agent.closing import end_of, fault
from agent.commands import Approve, Command, Deny, Interrupt, Redo, SendMessage, Stop, Undo
from agent.committing import Committing
from agent.connections import Connections
from agent.context import Context
from agent.effort import Signals
from agent.ending import Done, Ending, EnvironmentProblem, Interrupted, LimitReached
from agent.events import AnyEvent, Checkpoint, Model, Phase, Start, Step, UsageEvent, Warn
from agent.heartbeat import Heartbeat
from agent.identity import Identity
from agent.journal import Journal
from agent.left_behind import LeftBehind
from agent.options import RunOptions
from agent.pictures import Pictures
from agent.resume import Resumed, close_open_calls
from agent.rules import Rule
from agent.secrets import masked
from agent.tally import Level, Tally
from agent.time_limit import TimeLimit
from agent.timeline import Timeline
from agent.undo import move
from agent.version import version
from engine.errors import ContextOverflow, EngineError
from engine.request import Effort, Message, Usage
from sandbox import Sandbox, SandboxError
from tools import OutputStore


class Session:
    """Made by `agent.opening.open_session`, which holds the repository's lock around it."""

    def __init__(
        self,
        options: RunOptions,
        sandbox: Sandbox,
        engine: OpenEngine,
        journal: Journal,
        resumed: Resumed | None = None,
        rules: Sequence[Rule] = (),
        author: Identity | None = None,
    ) -> None:
        """`rules` are the user's, about what needs an approval; with an `author`, the run commits."""
        self.options = options
        self.sandbox = sandbox
        self.workspace = sandbox.workspace
        self.journal = journal
        self.resumed = resumed
        self.cwd = _inside(sandbox.workspace.root, options.repo)
        """Where the user's commands run, relative to the root of the workspace."""
        self.history: list[Message] = list(resumed.history) if resumed else []
        """What the model has been told; to be appended to by `add` alone."""
        self.tally = resumed.tally if resumed else Tally()
        self.context = Context(options.seed)
        denied, tier = resumed.denied if resumed else [], sandbox.describe()["tier"]
        self.approvals = Approvals(options, self.emit, denied, tier=tier, user_rules=rules)
        self.approvals.on_commit = lambda: journal.append("commits", sync=True)
        self.committing = Committing(author, resumed.repository if resumed else None)
        self.left_behind = LeftBehind(resumed.before if resumed else None)
        self.pictures = Pictures(self, options.image)
        self.outputs = OutputStore(journal.path.parent / "outputs", written=masked)
        self.signals = resumed.signals if resumed else Signals()
        self.effort = Effort(resumed.level) if resumed else Effort.NONE
        self.start_tree = ""
        self.last_tree = ""
        """The tree at the last checkpoint."""
        self.timeline = resumed.timeline if resumed else Timeline()
        self.verified: bool | None = None
        """What the command that must pass said last; None where it has not run since the turn began."""
        self.heartbeat = Heartbeat(self)
        self.written: dict[str, bytes] = {}
        """Files as Ostro itself left them last; what differs from it by now is the user's."""
        self.reached = False
        """The goal is reached: a limit ends what is only tidying up, not the run."""
        self.inbox: deque[str] = deque()
        """Messages of the user that no request has carried yet."""
        self.moves: deque[Undo | Redo] = deque()
        """Ways back and forth that the user asked for and that are not gone yet."""

        sandbox.on_connection(Connections(self).note)
        self._steps_before = self.tally.steps
        self._message_came = asyncio.Event()
        self._open_engine = engine
        self._engine: ChatEngine | None = None
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._started = time.monotonic()
        self._time_limit = TimeLimit(options.time_limit, lambda: self._end_by(self._out_of_time()))
        self._body: asyncio.Task[None] | None = None
        self._turn: asyncio.Task[None] | None = None
        self._why: Ending | None = None

    @property
    def id(self) -> str:
        return self.journal.session

    @property
    def seconds(self) -> float:
        """Since the run started."""
        return round(time.monotonic() - self._started, 3)

    @property
    def unfinished(self) -> str:
        """Of a conversation: why the turn that left the files as they are did not come to its end."""
        return self.timeline.unfinished if self.options.kind == "session" else ""

    # For a face.
    @property
    def working(self) -> bool:
        """Whether a turn is running; a session that waits for a message is not."""
        turn = self._turn is not None and not self._turn.done()
        return turn or bool(self.inbox or self.moves)

    async def run(self) -> AsyncGenerator[AnyEvent, None]:
        """Every event of the run, the last one `end`. To be called once."""
        work = asyncio.create_task(self._work())
        try:
            while (event := await self._events.get()) is not None:
                yield event
            await work
        finally:
            await cancelled(work)

    def send(self, command: Command) -> None:
        """Never waits; what it does shows in the events."""
        match command:
            case SendMessage(text=text):
                self.inbox.append(text)
                self._message_came.set()
            case Interrupt() if self.options.kind == "session":
                if self._turn:
                    self._turn.cancel()
            case Interrupt():
                self._end_by(Interrupted(verified=self.verified))
            case Stop(terminated=True):
                self._end_by(Interrupted(terminated=True, verified=self.verified))
            case Stop() if self.working or self.options.kind != "session":
                self._end_by(Interrupted("Left while a turn was running.", verified=self.verified))
            case Stop():
                self._end_by(Done(verified=self.verified))
            case Undo() | Redo() if self.options.kind == "session" and self._turn is None:
                self.moves.append(command)
                self._message_came.set()
            case Undo() | Redo():
                self.emit(Warn(text="Undo and redo work between two turns: interrupt this one first."))
            case Approve(id=call):
                self.approvals.answer(call, True)
            case Deny(id=call):
                self.approvals.answer(call, False)

    # For the loop and for fix.
    @property
    def engine(self) -> ChatEngine:
        """The engine, once `open_engine` was awaited."""
        assert self._engine is not None, "the engine is not open"
        return self._engine

    async def open_engine(self) -> ChatEngine:
        """Opens the engine at its first call, with `model` events. Raises EngineError."""
        if self._engine is None:
            ref = self.options.model
            self.emit(Model(ref=ref, family="", context=0, state="loading"))
            self._time_limit.stand_still()
            try:
                self._engine = await self._open_engine()
            finally:
                self._time_limit.go_on()
            await self.pictures.show_again()
            can = self._engine.capabilities
            self.emit(Model(ref=ref, family=can.family, context=can.context, state="ready"))
        return self._engine

    async def reopen_engine(self) -> ChatEngine:
        """A fresh engine, after this one died."""
        engine, self._engine = self._engine, None
        if engine:
            with contextlib.suppress(EngineError):
                await engine.close()
        return await self.open_engine()

    def emit(self, event: AnyEvent) -> None:
        """Stamps the event, writes it to the journal and hands it to the face."""
        stamped = event.model_copy(update={"t": self.seconds})
        self.heartbeat.note(stamped)
        self.journal.append_event(stamped)
        self._events.put_nowait(stamped)

    def add(self, message: Message) -> None:
        """Appends to what the model has been told; the journal keeps it token for token."""
        self.journal.append("message", message=message, sync=message.role == "tool")
        self.history.append(message)

    def step(self, phase: Phase, effort: Level = "none") -> Step:
        """Counts one step and gives its event to yield. Raises what `check` raises."""
        self.check()
        if self.tally.steps - self._steps_before >= self.options.max_steps:
            raise LimitReached(
                f"The limit of {_steps(self.options.max_steps)} was reached; --max-steps sets it.",
                verified=self.verified,
            )
        return Step(step=self.tally.step(effort), phase=phase)

    def usage(self, usage: Usage, effort: Level) -> UsageEvent:
        """Counts the tokens of one answer and gives its event to yield."""
        return self.tally.answer(usage, effort)

    def spend(self, **counts: int) -> None:
        """Counts tokens that no `usage` event reports (scoring, branching), by the names in `Tokens`."""
        self.tally.spend(**counts)

    def check(self) -> None:
        """Raises what ends the run, where something does: an interrupt or the time limit."""
        if self._why:
            raise self._why
        if self._time_limit.used_up:
            raise self._out_of_time()

    def wrote(self, path: str, content: bytes) -> None:
        """Notes what Ostro has written, for it alone may be taken back later."""
        self.written[path] = content

    def expect(self, path: str, candidate: bytes | None) -> None:
        """Records, before it is written, a candidate that is not verified yet; None where that is over."""
        digest = hashlib.sha256(candidate).hexdigest() if candidate is not None else None
        self.journal.append("candidate", path=path, sha256=digest, sync=candidate is not None)

    async def checkpoint(self, label: str) -> str:
        """Records the tree where it has changed, for `--resume` to compare with; the tree's id."""
        tree = await self.workspace.snapshot(like=[self.last_tree] if self.resumed and self.last_tree else [])
        for note in self.workspace.notes():
            self.emit(Warn(text=note))
        if tree != self.last_tree:
            self.last_tree = tree
            self.journal.append("tree", tree=tree, label=label, sync=True)
            known = len(self.timeline.points)
            self.timeline.add(tree, label)
            for point in self.timeline.points[known:]:
                self.emit(Checkpoint(step=point.step, tree=point.tree, label=point.label))
        return tree

    # The run itself.
    async def _work(self) -> None:
        try:
            ending = await self._ending()
            await self.sandbox.disconnect()
            end = await end_of(self, ending)
            end = end.model_copy(update={"t": self.seconds})
            with contextlib.suppress(Ending):  # an unwritable journal does not take the end away
                self.journal.append("event", event=end, sync=True)
            self._events.put_nowait(end)
            if self._engine:
                with contextlib.suppress(EngineError):
                    await self._engine.close()
        finally:
            self._events.put_nowait(None)

    async def _ending(self) -> Ending:
        """Runs the body to its end, however it ends."""
        self._time_limit.go_on()
        self._body = asyncio.create_task(self._drive())
        if self._why:
            self._body.cancel()
        try:
            await asyncio.wait({self._body})
            self._body.result()
        except asyncio.CancelledError:
            if self.reached and isinstance(self._why, LimitReached):
                return Done(verified=self.verified)
            return self._why or Interrupted()
        except Ending as ending:
            return self._why or ending
        except ContextOverflow as error:
            return self._why or LimitReached(str(error), verified=self.verified)
        except (EngineError, SandboxError) as error:
            return self._why or EnvironmentProblem(str(error), verified=self.verified)
        except Exception:
            return fault(self)
        finally:
            await cancelled(self._body)
            self._time_limit.stand_still()
        return Done(verified=self.verified)

    async def _drive(self) -> None:
        self.journal.append("options", options=self.options, sync=True)
        self.emit(
            Start(
                session=self.id,
                repo=str(self.workspace.root),
                task=self.options.task,
                command=self.options.command or self.options.verify,
                version=version(),
                sandbox=self.sandbox.describe(),
                resumed=self.resumed is not None,
            )
        )
        await self.pictures.read()
        if self.resumed:
            self.start_tree, self.last_tree = self.resumed.start_tree, self.resumed.last_tree
            await self.resumed.take_back(self)
        await self.left_behind.begin(self)
        await self.committing.begin(self)
        now = await self.checkpoint("resumed" if self.resumed else "start")
        self.start_tree = self.start_tree or now
        if self.resumed:
            await self.resumed.tell(self, now)

        if self.options.kind == "session":
            await self._converse()
        else:
            await self._relay()

    async def _relay(self) -> None:
        """One turn: the events of the loop, or of fix, on their way to the face."""
        if self.options.kind == "fix":
            from agent.fix import fix as work
        else:
            from agent.loop import turn as work

        self.journal.append("turn")
        self.timeline.begin_turn()
        stream = cast(AsyncGenerator[AnyEvent, None], work(self))
        async with self.heartbeat.beating(), contextlib.aclosing(stream) as events:
            async for event in events:
                self.emit(event)
        self._end_turn()

    def _end_turn(self, unfinished: str = "") -> None:
        self.journal.append("turn_end", unfinished=unfinished)
        self.timeline.end_turn(unfinished)
        if unfinished:
            self.emit(Warn(text=unfinished))

    async def _converse(self) -> None:
        """A turn for each message of the user, until the session is stopped."""
        while True:
            while not self.inbox:
                if self.moves:
                    await move(self, self.moves[0])
                    self.moves.popleft()  # only now: until then the session works
                    continue
                self._message_came.clear()
                await self._message_came.wait()
            self.signals = Signals()
            self._steps_before = self.tally.steps
            self.verified = None
            self._turn = asyncio.create_task(self._relay())
            try:
                await self._turn
            except asyncio.CancelledError:
                await cancelled(self._turn)
                if self._why:
                    raise
                close_open_calls(self, "The user interrupted it.")
                self._end_turn("Interrupted.")
            except (Ending, EngineError) as problem:
                self._end_turn(str(problem))
            finally:
                self._turn = None

    def _end_by(self, ending: Ending) -> None:
        """Ends the run from outside; the first reason stands."""
        self._why = self._why or ending
        if self._body:
            self._body.cancel()

    def _out_of_time(self) -> LimitReached:
        return LimitReached(
            f"The time limit of {self.options.time_limit:g} s was reached; --time-limit sets it.",
            verified=self.verified,
        )


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _inside(root: Path, folder: Path) -> str:
    folder = folder.resolve()
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else "."
