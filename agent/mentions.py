"""Files that a task names are shown with it: a step saved, and no edit of code that was only imagined."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from agent.context import fenced
from agent.prompts import prompt
from sandbox import FileProblem, Workspace
from tools.plain_text import plain

MOST_BYTES = 12_000
"""Of all files together; a larger one is left for the read tool."""
_WORD = re.compile(r"[\w./+-]*\w")


async def with_files(workspace: Workspace, text: str, cwd: str = ".") -> str:
    """The text, and after it each file it names (by path, or by a name that only one file has)."""
    words = {word.removeprefix("./") for word in _WORD.findall(text) if "." in word or "/" in word}
    if not words:
        return text
    files = {
        entry.path: entry.size for entry in await workspace.listing(recursive=True) if entry.kind == "file"
    }
    parts, left = [text], MOST_BYTES
    for path in sorted(named(words, files, cwd)):
        if files[path] > left:
            continue
        try:
            content = (await workspace.read(path)).decode("utf-8")
        except (FileProblem, UnicodeDecodeError):
            continue
        left -= files[path]
        parts.append(prompt("mentioned", path=path, content=fenced(plain(content).rstrip("\n"))))
    return "\n\n".join(parts)


def named(words: Iterable[str], files: Iterable[str], cwd: str) -> set[str]:
    """Which of `files` the words name; `cwd` is where the user is, relative to the root."""
    known = set(files)
    by_name: dict[str, list[str]] = {}
    for path in known:
        by_name.setdefault(posixpath.basename(path), []).append(path)
    found = set()
    for word in words:
        here = posixpath.normpath(posixpath.join(cwd, word))
        alone = by_name.get(word, [])
        if here in known:
            found.add(here)
        elif word in known:
            found.add(word)
        elif len(alone) == 1:
            found.add(alone[0])
    return found
