"""Leaves out every hunk of a repair that the command passes without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.search.patch_hunks import FilePatch, Hunk, parse_patch, split_hunk, without
from agent.search.trial import drop_bytecode
from sandbox import Workspace

Passes = Callable[[Workspace], Awaitable[bool]]
"""Runs the command in a fork."""


@dataclass
class _Part:
    file: FilePatch
    number: int
    """Which of the file's split hunks; -1 stands for the file as a whole (created, deleted, binary)."""


async def minimise(workspace: Workspace, start: str, now: str, passes: Passes) -> list[str]:
    """Drops what can be dropped between two trees from the workspace; the files that it changed.

    Every part (a run of changed lines, or a whole new, removed or binary file) is left out in turn, in a
    fork; where the command still passes, it stays out.
    """
    files = parse_patch(await workspace.diff(start, now))
    parts = [part for file in files for part in _parts(file)]
    if len(parts) < 2:
        return []
    fork = await workspace.fork()
    touched: dict[str, None] = {}
    try:
        dropped: dict[str, set[int]] = {}
        kept = list(parts)
        for part in reversed(parts):
            if len(kept) == 1:
                break
            path = part.file.path
            attempt = dropped.get(path, set()) | {part.number}
            await _rewrite(fork, start, now, part.file, attempt)
            if await passes(fork):
                dropped[path] = attempt
                kept.remove(part)
                touched[path] = None
            else:
                await _rewrite(fork, start, now, part.file, dropped.get(path, set()))
    finally:
        await fork.discard()
    for file in files:
        if file.path in touched:
            await _rewrite(workspace, start, now, file, dropped[file.path])
    return list(touched)


def _parts(file: FilePatch) -> list[_Part]:
    if file.created or file.deleted or not file.hunks:
        return [_Part(file, -1)]
    return [_Part(file, number) for number in range(len(_split(file)))]


def _split(file: FilePatch) -> list[Hunk]:
    return [part for hunk in file.hunks for part in split_hunk(hunk)]


async def _rewrite(workspace: Workspace, start: str, now: str, file: FilePatch, dropped: set[int]) -> None:
    """Puts one file into the state of `now` without the dropped parts."""
    await drop_bytecode(workspace, file.path)
    await workspace.restore(start if -1 in dropped else now, [file.path])
    if not dropped or -1 in dropped:
        return
    text = (await workspace.read(file.path)).decode("utf-8", "surrogateescape")
    changed = without(text, _split(file), dropped)
    await workspace.write(file.path, changed.encode("utf-8", "surrogateescape"))
