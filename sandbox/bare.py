"""Starting a command without a sandbox: a process group and limits, and nothing that holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.supervisor import Result

# Sets the limits on the command alone and gives the shell's 126 and 127.
PRELUDE = 'ulimit -c 0; ulimit -f "$1"; ulimit -n "$2"; shift 2; exec "$@"'


class BareCommand:
    """A command that was started; as `sandbox.supervisor.Command`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, argv: Sequence[str], cwd: Path, env: Mapping[str, str], limits: Limits, streams: Sequence[int]
    ) -> BareCommand:
        """Raises SandboxError."""
        stdin, stdout, stderr = streams
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", PRELUDE, "sh", *_ceilings(limits), *argv,
                stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise SandboxError(f"There is no folder {cwd} to run a command in.") from None
        except OSError as problem:
            raise SandboxError(f"The command cannot be started: {problem.strerror or problem}.") from None
        return cls(process)

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> Result:
        code = await self._process.wait()
        return Result(128 - code if code < 0 else code)

    async def kill(self) -> None:
        """Kills its process group: whoever left it stays."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # A group outlives its leader.
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def ports(self) -> list[int]:
        """Not known without a namespace."""
        return []


def _ceilings(limits: Limits) -> list[str]:
    """Arguments of the prelude: file size in 512-byte blocks, open files."""
    files = _at_most(resource.RLIMIT_FSIZE, limits.file_bytes) // 512
    return [str(files), str(_at_most(resource.RLIMIT_NOFILE, limits.open_files))]


def _at_most(kind: int, wanted: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
