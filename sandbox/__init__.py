"""Where commands run and files change: one launcher, a workspace, its forks and its snapshots.

Everything the model asks for goes through `Workspace`; see docs/sandbox.md for what holds.
"""

from __future__ import annotations

from sandbox.box import Sandbox
from sandbox.errors import (
    ChangedMeanwhile,
    FileProblem,
    HistoryProblem,
    NoSandbox,
    NotARepository,
    SandboxError,
    SnapshotMissing,
    TooLong,
    WrongOption,
)
from sandbox.files import Entry, version
from sandbox.history import Author, Head, History
from sandbox.limits import Completed, Limits
from sandbox.proxy import Connection
from sandbox.repository import find_repository
from sandbox.workspace import Workspace

__all__ = [
    "Author",
    "ChangedMeanwhile",
    "Completed",
    "Connection",
    "Entry",
    "FileProblem",
    "Head",
    "History",
    "HistoryProblem",
    "Limits",
    "NoSandbox",
    "NotARepository",
    "Sandbox",
    "SandboxError",
    "SnapshotMissing",
    "TooLong",
    "Workspace",
    "version",
    "WrongOption",
    "find_repository",
]
