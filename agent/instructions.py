"""The first thing that a model is told: Ostro's own words, and those of a repository that the user trusts.

A repository's AGENTS.md tells an agent what to do, so it is read only where the user said `ostro trust`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from agent.context import fence_of
from agent.events import Warn
from agent.prompts import prompt
from agent.trust import is_trusted
from engine.request import Message
from sandbox import FileProblem, Workspace
from tools.plain_text import plain

if TYPE_CHECKING:
    from agent.session import Session

NAMES = ("AGENTS.md", "CLAUDE.md", "GEMINI.md", ".github/copilot-instructions.md")
"""The first of a folder that is there is read, and no other."""
MOST_CHARACTERS = 8_000
"""Of one file; some 2,000 tokens, which each request carries."""
MOST_BYTES = 1_000_000
"""A larger file is not read at all."""


async def system_message(session: Session) -> Message:
    """What a session begins with. Warns, once, of instructions that are not read."""
    parts = [prompt("system", repo=str(session.workspace.root))]
    found = await _found(session.workspace, session.cwd)
    if found and not is_trusted(session.workspace.root):
        session.emit(Warn(text=_not_read(found, session.workspace.root)))
        found = []
    for path in found:
        try:
            content = await _content(session.workspace, path)
        except FileProblem as problem:
            session.emit(Warn(text=f"{path} was not read: {problem}"))
            continue
        parts.append(prompt("instructions", path=path, content=content, fence=fence_of(content)))
    return Message(role="system", content="\n\n".join(parts))


def _not_read(paths: list[str], root: Path) -> str:
    them, were = ("it", "was") if len(paths) == 1 else ("them", "were")
    return (
        f"{' and '.join(paths)} {were} not read, because this repository is not trusted; look at {them}, "
        f"then run `ostro trust {shlex.quote(str(root))}` to have {them} read."
    )


async def _found(workspace: Workspace, cwd: str) -> list[str]:
    """The files of the root and of the folder where the user started, in this order."""
    found = []
    for folder in dict.fromkeys((".", cwd)):
        for name in NAMES:
            path = name if folder == "." else f"{folder}/{name}"
            if await _is_there(workspace, path):
                found.append(path)
                break
    return found


async def _is_there(workspace: Workspace, path: str) -> bool:
    try:
        return await workspace.exists(path)
    except FileProblem:  # a link that leaves the workspace: never read
        return False


async def _content(workspace: Workspace, path: str) -> str:
    """Plain text of a bounded length. Raises FileProblem."""
    data = await workspace.read(path)
    if len(data) > MOST_BYTES:
        raise FileProblem(f"it has {len(data):,} bytes, more than {MOST_BYTES:,}.")
    text = plain(data.decode("utf-8", "replace")).strip()
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[:MOST_CHARACTERS].rpartition("\n")[0] or text[:MOST_CHARACTERS]
    return f"{kept}\n[... {len(text) - len(kept):,} characters left out; read shows them ...]"
