"""Where commands run and files change: one launcher, a workspace, its forks and its snapshots.

Everything the model asks for goes through `Workspace`; see docs/sandbox.md for what holds.
"""

from __future__ import annotations

from sandbox.box import Sandbox
from sandbox.errors import FileProblem, NoSandbox, NotARepository, SandboxError, SnapshotMissing
from sandbox.files import Entry
from sandbox.limits import Completed, Limits
from sandbox.repository import find_repository
from sandbox.workspace import Workspace

__all__ = [
    "Completed",
    "Entry",
    "FileProblem",
    "Limits",
    "NoSandbox",
    "NotARepository",
    "Sandbox",
    "SandboxError",
    "SnapshotMissing",
    "Workspace",
    "find_repository",
]
