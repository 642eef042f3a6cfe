"""What can go wrong around the sandbox: each error is one sentence a user can act on."""

from __future__ import annotations


class SandboxError(Exception):
    """Base; `str(error)` is one clear sentence that says what is wrong and what to do."""


class WrongOption(SandboxError):
    """What the sandbox was asked to allow cannot be read, or makes no sense."""


class NoSandbox(SandboxError):
    """No sandbox can be built on this machine."""


class SandboxEnded(SandboxError):
    """The sandbox ended before what was asked of it."""


class NotARepository(SandboxError):
    """The folder is not (inside) a git repository that may serve as a workspace."""


class HistoryProblem(SandboxError):
    """The repository's git cannot tell, or cannot commit."""


class FileProblem(SandboxError):
    """A file of the workspace cannot be read, written, listed or removed."""


class ChangedMeanwhile(SandboxError):
    """Somebody changed files between the look at them and the write; theirs were not written to."""


class TooLong(SandboxError):
    """What was asked for is there, and is longer than Ostro takes from a program inside."""


class SnapshotMissing(SandboxError):
    """The store does not hold this snapshot, or not all of it."""
