"""From options to a session: the journal, the repository's lock and the sandbox around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.chat_engine import OpenEngine, engine_for
from agent.config import load
from agent.ending import EnvironmentProblem, WrongUsage
from agent.identity import identity
from agent.journal import Journal, find, new_session_id, read, repository_lock
from agent.options import RunOptions
from agent.resume import Resumed
from agent.secrets import MASK
from agent.session import Session
from engine.catalogue import resolve
from engine.errors import EngineError
from sandbox import Sandbox, SandboxError, WrongOption
from sandbox.repository import find_repository


@asynccontextmanager
async def open_session(options: RunOptions, engine: OpenEngine | None = None) -> AsyncIterator[Session]:
    """A session ready to `run`; with `options.resume`, the one that its journal describes.

    `engine` opens the engine when it is first needed (default: the model that the options name).
    Raises Ending (WrongUsage, EnvironmentProblem) before anything was written to the repository.
    """
    resumed = Resumed.read(read(find(options.resume))) if options.resume else None
    if engine is None and "model" in options.model_fields_set:
        _require_model(options.model)
    if resumed:
        options = _merged(resumed, options)
    try:
        root = find_repository(options.repo).root
        config = load(root)
        author = identity(root) if _commits(options, resumed) else None
        sandbox = await Sandbox.open(
            options.repo,
            limits=config.sandbox_limits(),
            unsafe=options.unsafe,
            network=options.allow_network,
        )
    except WrongOption as error:
        raise WrongUsage(str(error)) from error
    except SandboxError as error:
        raise EnvironmentProblem(str(error)) from error
    try:
        root = sandbox.workspace.root
        if resumed and not resumed.options.repo.resolve().is_relative_to(root):
            raise WrongUsage(f"Session {options.resume} belongs to {resumed.options.repo}, not to {root}.")
        session_id = options.resume or new_session_id()
        with repository_lock(root, session_id):
            journal = Journal.reopen(session_id) if options.resume else Journal.create(session_id)
            try:
                if resumed:  # what another process wrote while the lock was waited for is in it as well
                    resumed = Resumed.read(journal.records())
                    _commits(options, resumed)
                open_engine = engine or engine_for(options.model, options.memory)
                yield Session(options, sandbox, open_engine, journal, resumed, config.approvals.rule, author)
            finally:
                journal.close()
    finally:
        await sandbox.close()


def _commits(options: RunOptions, resumed: Resumed | None) -> bool:
    """Raises WrongUsage where a run could not commit, whatever it does."""
    if not options.commit:
        return False
    if options.approve == "read-only":
        raise WrongUsage("--approve read-only writes nothing, so there is nothing to commit; leave one out.")
    if resumed and resumed.start_tree and resumed.repository is None:
        raise WrongUsage(
            "This session began without --commit, so what was yours then is not known; commit by yourself."
        )
    return True


def _require_model(ref: str) -> None:
    """A model that was asked for by name has to be there, whether it will be needed or not."""
    try:
        resolve(ref)
    except EngineError as error:
        raise EnvironmentProblem(str(error)) from error


def _merged(resumed: Resumed, given: RunOptions) -> RunOptions:
    """What the session was told, and over it what is told now; to do without a sandbox is told each time.

    Images belong to one turn: those of the session are in its history already.
    """
    saved = resumed.options
    if resumed.history:
        saved = saved.model_copy(update={"image": ()})
    told = {name: getattr(given, name) for name in given.model_fields_set} | {"unsafe": given.unsafe}
    if given.kind != "session":
        told["kind"] = "fix" if saved.kind == "fix" else "run"
    merged = saved.model_copy(update=told)
    if any(MASK in word for word in (*(merged.command or ()), *(merged.verify or ()))):
        raise WrongUsage(
            "The command of this session held a secret, which its journal does not keep; start a new session."
        )
    return merged
