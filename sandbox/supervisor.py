"""The host's end of a sandbox: starts its bubblewrap with the supervisor inside, and gives it commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.alone import Alone
from sandbox.bubblewrap import Bubblewrap
from sandbox.errors import SandboxEnded, SandboxError
from sandbox.inside import serve
from sandbox.inside.ports import QUESTION
from sandbox.limits import Limits
from sandbox.policy import Mount, Pin, Policy
from sandbox.streams import in_memory
from sandbox.toolchain import own_program

INSIDE = Path(__file__).with_name("inside")
INSIDE_THERE = Path("/run/ostro/inside")
HELD_INSIDE = {"file_bytes", "open_files", "processes", "memory_bytes", "disk_bytes"}
"""What is held inside; time and output are held out here."""
READY_WITHIN = 20.0
"""Seconds that a sandbox may take to stand."""
GONE_WITHIN = 5.0
"""Seconds that a command may take to be gone once it is killed."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    exceeded: str = ""
    """The limit that ended it, to follow "stopped, because"."""


class Supervisor:
    """One sandbox that stands, for any number of commands under one policy. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._commands: set[Command] = set()

    @classmethod
    async def start(cls, mechanism: Bubblewrap | Alone, policy: Policy) -> Supervisor:
        """Raises SandboxError where the sandbox cannot be built."""
        options = mechanism.arguments(policy)
        try:
            return await cls._build(mechanism, policy)
        except SandboxError:
            # Something outside that was to be covered, a socket say, may have gone at that very moment.
            if mechanism.arguments(policy) == options:
                raise
            return await cls._build(mechanism, policy)

    @classmethod
    async def _build(cls, mechanism: Bubblewrap | Alone, policy: Policy) -> Supervisor:
        control, there = socket.socketpair()
        place = INSIDE_THERE if isinstance(mechanism, Bubblewrap) else INSIDE
        policy = policy.with_mounts(Mount(INSIDE, place))
        python = own_program(place.parent, "inside.serve", str(there.fileno()))
        arguments = os.fsencode("\0".join(mechanism.arguments(policy)))
        with contextlib.closing(there), in_memory(arguments) as options:
            try:
                process = await asyncio.create_subprocess_exec(
                    *mechanism.around(options), *python,
                    stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE, pass_fds=[options, there.fileno()],
                    start_new_session=True,
                    # /proc/1/environ shows what bubblewrap itself was started with.
                    env={},
                )  # fmt: skip
            except OSError as problem:
                control.close()
                raise SandboxError(f"The sandbox cannot be started: {problem.strerror}.") from None
        supervisor = cls(process, control)
        try:
            await supervisor._greet({**mechanism.settings(policy), "real": _identities(policy)})
        except BaseException:
            await supervisor.stop()
            raise
        return supervisor

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and self._control.fileno() >= 0

    def command(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        pins: Sequence[Pin],
        streams: Sequence[int],
    ) -> Command:
        """Starts a command with these three standard streams, which stay the caller's to close."""
        request = {
            "argv": list(argv),
            "env": dict(env),
            "cwd": str(cwd),
            "pins": [[str(pin.path), pin.writable] for pin in pins],
            "limits": limits.model_dump(include=HELD_INSIDE),
        }
        channel, there = socket.socketpair()
        try:
            with contextlib.closing(there), in_memory(json.dumps(request).encode()) as file:
                self._send([file, *streams, there.fileno()])
        except SandboxError:
            channel.close()
            raise
        except OSError:
            channel.close()
            raise SandboxEnded("The sandbox has ended, so the command was not run.") from None
        command = Command(self, channel)
        self._commands = {known for known in self._commands if known.running} | {command}
        return command

    async def close(self) -> None:
        """Ends its commands, then itself. Harmless when called again."""
        await asyncio.gather(*(command.kill() for command in self._commands))
        await self.stop()

    async def stop(self) -> None:
        """Ends it and everything in it at once: its commands cannot say any more how they ended."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _greet(self, settings: Mapping[str, Any]) -> None:
        answer = b""
        try:
            with in_memory(json.dumps(settings).encode()) as file:
                self._send([file])
            self._control.setblocking(False)
            hears = asyncio.get_running_loop().sock_recv(self._control, 16)
            answer = await asyncio.wait_for(hears, READY_WITHIN)
        except TimeoutError:
            raise SandboxError("The sandbox could not be built in time, so nothing was run.") from None
        except OSError:  # it has ended; the reason is on its standard error
            pass
        if answer != serve.READY:
            raise SandboxError(f"The sandbox could not be built ({await self._why()}), so nothing was run.")
        # Nobody reads it from here on, and a full pipe would make its writer wait.
        self._drain = asyncio.create_task(_drain(self._process.stderr))

    async def _why(self) -> str:
        assert self._process.stderr is not None
        with contextlib.suppress(TimeoutError):
            said = await asyncio.wait_for(self._process.stderr.read(1 << 16), 5.0)
            if lines := said.decode("utf-8", "replace").strip().splitlines():
                return lines[-1]
        return "it said nothing"

    def _send(self, fds: Sequence[int]) -> None:
        self._control.setblocking(True)
        socket.send_fds(self._control, [b"\n"], fds)


class Command:
    """A command that was started. Not to be forgotten: `kill` before it is let go of."""

    def __init__(self, supervisor: Supervisor, channel: socket.socket) -> None:
        self._supervisor = supervisor
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._heard = b""
        self._ended: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._ports: asyncio.Future[list[int]] | None = None
        channel.setblocking(False)
        self._loop.add_reader(channel, self._hear)

    @property
    def running(self) -> bool:
        return not self._ended.done()

    async def wait(self) -> Result:
        """Until nothing of it is left. Raises SandboxError where it was not run as it should have been."""
        told = await asyncio.shield(self._ended)
        if "exit_code" in told:
            return Result(told["exit_code"], told["exceeded"])
        if "no_folder" in told:
            raise SandboxError(f"There is no folder {told['no_folder']} to run a command in.")
        if "failed" in told:
            raise SandboxError(
                f"The sandbox could not be completed ({told['failed']}), so the command was not run."
            )
        raise SandboxEnded("The sandbox ended before the command did; what it did until then stays.")

    async def kill(self) -> None:
        """Kills all that is left and waits until it is gone. Harmless when called again."""
        if self.running:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)
            await asyncio.wait({self._ended}, timeout=GONE_WITHIN)
        if self.running:
            # A keeper that does not answer keeps nothing: everything goes, rather than something stays.
            await self._supervisor.stop()
            await asyncio.wait({self._ended}, timeout=GONE_WITHIN)

    async def ports(self) -> list[int]:
        """TCP ports that its programs listen on, on the sandbox's own loopback."""
        if not self.running:
            return []
        if self._ports is None:  # one answer is for all who ask meanwhile
            self._ports = self._loop.create_future()
            self._channel.send(QUESTION)
        asked = self._ports
        await asyncio.wait({asked, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        return asked.result() if asked.done() else []

    def _hear(self) -> None:
        try:
            data = self._channel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        for told in map(json.loads, lines):
            if "ports" not in told:
                self._end(told)
            elif self._ports is not None:
                self._ports.set_result(told["ports"])
                self._ports = None
        if not data:
            self._end({})

    def _end(self, told: dict[str, Any]) -> None:
        if self._ended.done():
            return
        self._ended.set_result(told)
        self._loop.remove_reader(self._channel)
        self._channel.close()


def _identities(policy: Policy) -> list[tuple[str, int, int]]:
    return [
        (str(mount.target), *mount.identity)
        for mount in policy.mounts
        if isinstance(mount, Mount) and mount.identity is not None
    ]


async def _drain(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(1 << 16):
        pass
