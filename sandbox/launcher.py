"""The one way a program starts: `run` (nothing survives it) and `service` (lives until stopped)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import watch
from sandbox.bubblewrap import Bubblewrap
from sandbox.capture import Capture
from sandbox.confine import REFUSED
from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.policy import Mount, Policy
from sandbox.toolchain import own_python

CONFINE = Path(__file__).with_name("confine.py")
CONFINE_INSIDE = Path("/run/ostro/confine.py")
# Where there is no Landlock: sets the limits on the command alone and gives the shell's 126 and 127.
PRELUDE = 'ulimit -c 0; ulimit -f "$1"; ulimit -n "$2"; shift 2; exec "$@"'
CHUNK = 1 << 16
GONE_WITHIN = 5.0
"""Seconds to wait for the last process of a killed command."""


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
    """Starts programs under a policy; without bubblewrap only limits and a process group hold."""

    def __init__(self, bubblewrap: Bubblewrap | None) -> None:
        self.bubblewrap = bubblewrap
        self._alive: set[_Running] = set()
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
        out = _Pipe(Capture(limits.output_bytes, on_output))
        err = out if merge else _Pipe(Capture(limits.output_bytes))
        began = time.monotonic()
        timed_out, exceeded = False, ""
        try:
            with _input(stdin) as source:
                ends = (source, out.write_end, err.write_end)
                running = await self._start(policy, argv, cwd, env, limits, *ends)
            for pipe in {out, err}:
                pipe.start()
            ended = asyncio.ensure_future(running.process.wait())
            watched = asyncio.ensure_future(running.exceeded(limits))
            try:
                await asyncio.wait({ended, watched}, timeout=limits.seconds, return_when=FIRST_COMPLETED)
                timed_out = not ended.done() and not watched.done()
                exceeded = watched.result() if watched.done() and not ended.done() else ""
            finally:
                watched.cancel()
                await asyncio.shield(self._end(running))
                await asyncio.gather(ended, watched, return_exceptions=True)
        finally:
            for pipe in {out, err}:
                await pipe.finish()
        seconds = time.monotonic() - began
        exit_code = None if timed_out else running.exit_code(cwd, err.capture)
        return Finished(exit_code, out.capture, err.capture, seconds, timed_out, exceeded)

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
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        running = await self._start(policy, argv, cwd, env, limits, pipe, pipe, null, line_bytes)
        return Service(self, running)

    async def close(self) -> None:
        """Kills everything that still runs; nothing can be started any more."""
        self._closed = True
        await asyncio.gather(*(self._end(r) for r in list(self._alive)))

    async def _start(
        self, policy: Policy, argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None, limits: Limits,
        stdin: int, stdout: int, stderr: int, line_bytes: int = 1 << 16,
    ) -> _Running:  # fmt: skip
        if self._closed:
            raise SandboxError("The sandbox is closed.")
        if not argv or not argv[0]:
            raise SandboxError("There is no command to run; give at least the program's name.")
        if any("\0" in part for part in argv):
            raise SandboxError("A command's arguments cannot hold a NUL character; remove it.")
        environment = {**policy.environment, **(env or {})}
        keep: list[int] = []
        status: int | None = None
        try:
            if self.bubblewrap is None:
                where: Path | None = cwd
                command = _limited(limits, argv)
            else:
                where, (status, status_end) = None, os.pipe()
                keep.append(status_end)
                policy, inner = _confined(policy, limits, argv, landlock=self.bubblewrap.landlock)
                options = _in_memory("\0".join(self.bubblewrap.arguments(policy, cwd, environment)))
                keep.append(options)
                command = [
                    str(self.bubblewrap.program), "--args", str(options), "--json-status-fd", str(status_end),
                ]  # fmt: skip
                if self.bubblewrap.seccomp:
                    keep.append(_in_memory(self.bubblewrap.seccomp))
                    command += ["--seccomp", str(keep[-1])]
                command += ["--", *inner]
                # /proc/1/environ shows what bubblewrap itself was started with.
                environment = {}
            process = await asyncio.create_subprocess_exec(
                *command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=where, env=environment,
                pass_fds=keep, start_new_session=True, limit=line_bytes,
            )  # fmt: skip
        except FileNotFoundError:
            _close(status)
            raise SandboxError(f"There is no folder {cwd} to run a command in.") from None
        except OSError as problem:
            _close(status)
            raise SandboxError(f"The command cannot be started: {problem.strerror or problem}.") from None
        except BaseException:
            _close(status)
            raise
        finally:
            for fd in keep:
                os.close(fd)
        running = _Running(process, status)
        self._alive.add(running)
        return running

    async def _end(self, running: _Running) -> None:
        await running.kill()
        self._alive.discard(running)


class Service:
    """A program that lives until stopped; `reader` and `writer` are its stdout and stdin."""

    def __init__(self, launcher: Launcher, running: _Running) -> None:
        self._launcher = launcher
        self._running = running
        process = running.process
        assert process.stdout is not None and process.stdin is not None
        self.reader = process.stdout
        self.writer = process.stdin

    @property
    def alive(self) -> bool:
        return self._running.process.returncode is None

    async def stop(self) -> None:
        await self._launcher._end(self._running)


class _Running:
    """A started program and, under bubblewrap, the first process of its namespace."""

    def __init__(self, process: asyncio.subprocess.Process, status: int | None) -> None:
        self.process = process
        self._status = status
        self._wrapped = status is not None
        self._killed = False
        self._report = b""
        if status is not None:
            os.set_blocking(status, False)

    def exit_code(self, cwd: Path, stderr: Capture) -> int:
        """Of the command. Raises SandboxError where the sandbox failed before the command started."""
        if not self._wrapped:
            code = self.process.returncode or 0
            return 128 - code if code < 0 else code
        told = self._told("exit-code")
        last = stderr.text().rstrip().rpartition("\n")[2]
        if told == REFUSED and last.startswith("confine: "):
            raise SandboxError(f"The sandbox could not be completed ({last}), so the command was not run.")
        if told is not None:
            return told
        if self._told("child-pid") and self._killed:
            return 128 + signal.SIGKILL
        why = stderr.text().strip().splitlines()
        reason = why[-1] if why else f"bubblewrap ended with {self.process.returncode}"
        if "chdir" in reason:
            raise SandboxError(f"There is no folder {cwd} to run a command in.")
        raise SandboxError(f"The sandbox could not be built ({reason}), so the command was not run.")

    async def exceeded(self, limits: Limits) -> str:
        """Waits until its processes exceed a limit together, and says which; in a namespace only."""
        return await watch.exceeded(lambda: self._told("child-pid"), limits)

    async def kill(self) -> None:
        """Kills all that is left and waits until it is gone. Harmless when called again."""
        self._killed = self._killed or self.process.returncode is None
        first = self._told("child-pid")
        watch = _pidfd(first) if first else None
        if watch is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(watch, signal.SIGKILL)
        # A group outlives its leader, and without namespaces the group is all there is to kill.
        if not self._wrapped or self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        if watch is not None:
            # The first process of a namespace ends only after all others in it are gone.
            await _readable(watch, GONE_WITHIN)
            os.close(watch)
        if self._status is not None:
            self._read_report()
            os.close(self._status)
            self._status = None

    def _told(self, key: str) -> int | None:
        self._read_report()
        for line in self._report.splitlines():
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if key in told:
                    return int(told[key])
        return None

    def _read_report(self) -> None:
        if self._status is None:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._status, CHUNK):
                self._report += data


class _Pipe:
    """The read side of a command's output, fed into a capture by the event loop."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._ended = asyncio.Event()

    def start(self) -> None:
        os.close(self.write_end)
        self.write_end = -1
        asyncio.get_running_loop().add_reader(self._read_end, self._take)

    async def finish(self) -> None:
        """Takes what is left; a process that escaped the kill may hold the pipe open, so not for ever."""
        if self._read_end < 0:
            return
        if self.write_end >= 0:
            os.close(self.write_end)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1.0)
            asyncio.get_running_loop().remove_reader(self._read_end)
        os.close(self._read_end)
        self._read_end = -1
        self.capture.end()

    def _take(self) -> None:
        try:
            data = os.read(self._read_end, CHUNK)
        except BlockingIOError:
            return
        if data:
            self.capture.feed(data)
            return
        asyncio.get_running_loop().remove_reader(self._read_end)
        self._ended.set()


@contextlib.contextmanager
def _input(data: bytes | None):
    """A file holding `data`: unlike a pipe it needs nobody to feed it."""
    if data is None:
        yield asyncio.subprocess.DEVNULL
        return
    fd = _in_memory(data)
    try:
        yield fd
    finally:
        os.close(fd)


def _in_memory(data: str | bytes) -> int:
    fd = os.memfd_create("ostro")
    view = memoryview(os.fsencode(data) if isinstance(data, str) else data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _confined(
    policy: Policy, limits: Limits, argv: Sequence[str], *, landlock: bool
) -> tuple[Policy, list[str]]:
    """The command behind what limits it, and the policy with what that needs."""
    if not landlock:
        return policy, _limited(limits, argv)
    writable = [str(folder) for folder in policy.writable]
    # Above the limit itself: the watch ends the command and says why; the kernel would say "cannot fork".
    backstop = 2 * limits.processes
    words = [str(n) for n in (limits.file_bytes, limits.open_files, backstop, len(writable))]
    python = [str(own_python()), "-I", "-S", str(CONFINE_INSIDE)]
    return policy.with_mounts(Mount(CONFINE, CONFINE_INSIDE)), [*python, *words, *writable, *argv]


def _limited(limits: Limits, argv: Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", PRELUDE, "sh", *_ceilings(limits), *argv]


def _ceilings(limits: Limits) -> list[str]:
    """Arguments of the prelude: file size in 512-byte blocks, open files."""
    files = _at_most(resource.RLIMIT_FSIZE, limits.file_bytes) // 512
    return [str(files), str(_at_most(resource.RLIMIT_NOFILE, limits.open_files))]


def _at_most(kind: int, wanted: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


async def _readable(fd: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), seconds)
    finally:
        loop.remove_reader(fd)


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
