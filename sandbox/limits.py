"""How much a command may use, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
from pydantic import BaseModel, ConfigDict, Field


def scratch_share(memory: int) -> int:
    """What one in-memory folder may hold on a machine with so many bytes: there are some six of them."""
    return max(256 << 20, min(2 << 30, memory // 8))


def _memory() -> int:
    return psutil.virtual_memory().total


class Limits(BaseModel):
    """Ceilings for one command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=120.0, gt=0)
    """Wall clock; then everything the command started is killed. Whoever runs it may say otherwise."""
    longest_seconds: float | None = Field(default=None, gt=0)
    """What nobody may exceed, whatever is said for one command; None: no such limit."""
    output_bytes: int = Field(default=1_000_000, ge=1)
    """Output that is kept; of more, the head and the tail."""
    file_bytes: int = Field(default=2 << 30, ge=0)
    """The largest file a process may write."""
    memory_bytes: int = Field(default_factory=lambda: _memory() * 3 // 4, ge=1 << 20)
    """Memory that is their own, of all processes of a command together."""
    processes: int = Field(default=4096, ge=8)
    """Processes and threads of a command together."""
    disk_bytes: int | None = Field(default=16 << 30, ge=1 << 20)
    """By which the free space of the workspace's disk and in-memory folders may fall while a command runs;
    None for a program of Ostro's own, which is not to be ended for what others write beside it."""
    open_files: int = Field(default=4096, ge=16)
    scratch_bytes: int = Field(default_factory=lambda: scratch_share(_memory()), ge=1 << 20)
    """Size of each in-memory folder (/tmp, the home folder, ...)."""

    def within(self, seconds: float | None) -> Limits:
        """For one command, which is to end within so many seconds (None: the usual time)."""
        wanted = self.seconds if seconds is None else max(seconds, 0.01)
        return self.model_copy(update={"seconds": min(wanted, self.longest_seconds or wanted)})


@dataclass(frozen=True)
class Completed:
    """A command that ran. `output` is stdout and stderr as they came, decoded as UTF-8."""

    argv: tuple[str, ...]
    exit_code: int | None
    """None: it was stopped at the time limit. 127: no such program. 128 + n: killed by signal n."""
    output: str
    seconds: float
    timed_out: bool
    output_cut: bool
    """`output` holds the head and the tail only, with a line between that says what is left out."""
