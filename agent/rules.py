"""The user's rules about tools and commands, from their own config and never from a repository.

A rule about a command compares words. That is a convenience and never a boundary: see agent/shell_words.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agent.shell_words import begins_with, names, plain_words
from tools import builtin_tools

Decision = Literal["allow", "ask", "deny"]
STRICTEST_FIRST: tuple[Decision, ...] = ("deny", "ask", "allow")
TOOLS = tuple(builtin_tools())
_COMMITS = (
    "commit", "push", "merge", "rebase", "cherry-pick", "revert", "am", "pull", "commit-tree", "update-ref",
    "fast-import", "filter-branch", "send-pack",
)  # fmt: skip


class Rule(BaseModel):
    """What is to happen where a call is of this tool and its command begins with these words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Decision = Field(description='"allow", "ask" or "deny"')
    tool: str | None = Field(default=None, description=f"one of {', '.join(TOOLS)}")
    command: str | None = Field(
        default=None,
        description='the words that a command begins with, such as "git push", without shell syntax',
    )

    @field_validator("tool")
    @classmethod
    def _known(cls, tool: str | None) -> str | None:
        if tool is not None and tool not in TOOLS:
            raise ValueError("there is no such tool")
        return tool

    @field_validator("command")
    @classmethod
    def _plain(cls, command: str | None) -> str | None:
        if command is not None and plain_words(command) is None:
            raise ValueError("these are no plain words")
        return command

    def matches(self, tool: str, command: str | None) -> bool:
        """`command` is what the call would run; None for a call that runs none.

        An allowing rule matches a whole command that a shell runs word for word; the others match where such
        a command seems to be anywhere in the line.
        """
        if self.tool not in (None, tool):
            return False
        if self.command is None:
            return True
        if command is None:
            return False
        prefix = shlex.split(self.command)
        if self.decision == "allow":
            return begins_with(plain_words(command) or [], prefix)
        return names(command, prefix)


def decision(rules: Iterable[Rule], tool: str, command: str | None) -> Decision | None:
    """What the strictest rule that matches says; None where none does."""
    said = {rule.decision for rule in rules if rule.matches(tool, command)}
    return next((decision for decision in STRICTEST_FIRST if decision in said), None)


def commits(command: str) -> bool:
    """Whether a command line seems to make commits, move branches to others, or publish."""
    return any(names(command, ["git", verb]) for verb in _COMMITS)
