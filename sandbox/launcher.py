"""The one way a program starts: `run` (nothing survives it) and `service` (lives until stopped)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.alone import Alone
from sandbox.bare import BareCommand
from sandbox.bubblewrap import Bubblewrap
from sandbox.capture import Capture
from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.policy import Policy
from sandbox.streams import Conversation, OutputPipe, standard_input
from sandbox.supervisor import Command, Supervisor


@dataclass(frozen=True)
class Finished:
    exit_code: int | None
    """None where the time limit ended it."""
    stdout: Capture
    stderr: Capture
    """The same object as `stdout` where both were merged."""
    seconds: float
    timed_out: bool
    exceeded: str = ""
    """The limit that ended it, to follow "stopped, because"."""


class Launcher:
    """Starts programs under a policy, each policy in a sandbox of its own that stands once it is needed.

    Without bubblewrap paths inside are those of the host; without any mechanism only limits and a process
    group hold.
    """

    def __init__(self, mechanism: Bubblewrap | Alone | None) -> None:
        self.mechanism = mechanism
        self.bubblewrap = mechanism if isinstance(mechanism, Bubblewrap) else None
        self._standing: dict[tuple[object, ...], asyncio.Task[Supervisor]] = {}
        self._alive: set[Command | BareCommand] = set()
        self._closed = False

    async def run(
        self,
        policy: Policy,
        argv: Sequence[str],
        *,
        cwd: Path,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        merge: bool = True,
        on_output: Callable[[str], None] | None = None,
    ) -> Finished:
        """Runs `argv` to its end or its time limit. Raises SandboxError where it could not be started."""
        out = OutputPipe(Capture(limits.output_bytes, on_output))
        err = out if merge else OutputPipe(Capture(limits.output_bytes))
        began = time.monotonic()
        try:
            with standard_input(stdin) as source:
                streams = (source, out.write_end, err.write_end)
                command = await self._start(policy, argv, cwd, env, limits, streams)
            for pipe in {out, err}:
                pipe.start()
            ended = asyncio.ensure_future(command.wait())
            try:
                await asyncio.wait({ended}, timeout=limits.seconds)
                timed_out = not ended.done()
            finally:
                await asyncio.shield(self._end(command))
                await asyncio.wait({ended})
            result = ended.result()
        finally:
            for pipe in {out, err}:
                await pipe.finish()
        seconds = time.monotonic() - began
        exit_code = None if timed_out else result.exit_code
        return Finished(exit_code, out.capture, err.capture, seconds, timed_out, result.exceeded)

    async def service(
        self,
        policy: Policy,
        argv: Sequence[str],
        *,
        cwd: Path,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        line_bytes: int = 1 << 16,
    ) -> Service:
        """Starts a program that is spoken to over its stdin and stdout, until `stop`.

        `line_bytes` is the longest line it may answer with.
        """
        pipes = Conversation(line_bytes)
        try:
            command = await self._start(policy, argv, cwd, env, limits, pipes.streams)
            await pipes.start()
        except BaseException:
            pipes.close()
            raise
        return Service(self, command, pipes)

    async def stand(self, policy: Policy) -> None:
        """Builds the sandbox of a policy before its first command. Raises SandboxError."""
        if self.mechanism is not None:
            await self._supervisor(policy)

    async def release(self, policy: Policy) -> None:
        """Takes down the sandbox of a policy that is not needed any more, with all that runs in it."""
        if self.mechanism is not None:
            await self._take_down(self._standing.pop(self._key(policy), None))

    async def close(self) -> None:
        """Kills everything that still runs; nothing can be started any more."""
        self._closed = True
        await asyncio.gather(*(self._end(command) for command in list(self._alive)))
        standing, self._standing = self._standing, {}
        await asyncio.gather(*map(self._take_down, standing.values()))

    async def _start(
        self, policy: Policy, argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None, limits: Limits,
        streams: Sequence[int],
    ) -> Command | BareCommand:  # fmt: skip
        if self._closed:
            raise SandboxError("The sandbox is closed.")
        if not argv or not argv[0]:
            raise SandboxError("There is no command to run; give at least the program's name.")
        if any("\0" in part for part in argv):
            raise SandboxError("A command's arguments cannot hold a NUL character; remove it.")
        environment = {**policy.environment, **(env or {})}
        if self.mechanism is None:
            command = await BareCommand.start(argv, cwd, environment, limits, streams)
        else:
            supervisor = await self._supervisor(policy)
            command = supervisor.command(argv, cwd, environment, limits, policy.pins, streams)
        self._alive.add(command)
        return command

    async def _supervisor(self, policy: Policy) -> Supervisor:
        """Of the policy's sandbox. One that has ended is built anew: what ran in it is gone, and was said."""
        assert self.mechanism is not None
        key = self._key(policy)
        standing = self._standing.get(key)
        if standing is None or (standing.done() and not _stands(standing)):
            await self._take_down(standing)
            standing = self._standing[key] = asyncio.create_task(Supervisor.start(self.mechanism, policy))
        # Shielded, because others may be waiting for the same one.
        return await asyncio.shield(standing)

    def _key(self, policy: Policy) -> tuple[object, ...]:
        """What is the same in one sandbox; the environment and the pins belong to the command."""
        return policy.root, policy.hidden, policy.masked, policy.readable, policy.mounts, policy.restores

    async def _take_down(self, standing: asyncio.Task[Supervisor] | None) -> None:
        if standing is None:
            return
        await asyncio.wait({standing})
        if not standing.cancelled() and standing.exception() is None:
            await standing.result().close()

    async def _end(self, command: Command | BareCommand) -> None:
        await command.kill()
        self._alive.discard(command)


class Service:
    """A program that lives until stopped; `reader` and `writer` are its stdout and stdin."""

    def __init__(self, launcher: Launcher, command: Command | BareCommand, pipes: Conversation) -> None:
        self._launcher = launcher
        self._command = command
        self._pipes = pipes
        self.reader, self.writer = pipes.reader, pipes.writer

    @property
    def alive(self) -> bool:
        return self._command.running

    async def ports(self) -> list[int]:
        """TCP ports that it listens on, on the sandbox's own loopback."""
        return await self._command.ports()

    async def stop(self) -> None:
        await self._launcher._end(self._command)
        self._pipes.close()


def _stands(standing: asyncio.Task[Supervisor]) -> bool:
    return not standing.cancelled() and standing.exception() is None and standing.result().alive
