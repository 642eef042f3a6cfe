"""Leaves out every hunk of a repair that the command passes without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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


async def minimise(
    workspace: Workspace, start: str, now: str, passes: Passes, written: Mapping[str, bytes]
) -> Dropped:
    """Drops what can be dropped between two trees from the workspace.

    Every part (a run of changed lines, or a whole new, removed or binary file) is left out in turn, in a
    fork; where the command still passes, it stays out. Only files of `written`, which is what Ostro left in
    them, are touched, and none that holds something else by now: that is the user's.
    """
    files = [file for file in parse_patch(await workspace.diff(start, now)) if file.path in written]
    parts = [part for file in files for part in _parts(file)]
    if len(parts) < 2:
        return Dropped(workspace, {})
    fork = await workspace.fork()
    contents: dict[str, bytes | None] = {}
    try:
        dropped: dict[str, set[int]] = {}
        kept = list(parts)
        for part in reversed(parts):
            if len(kept) == 1:
                break
            path = part.file.path
            attempt = dropped.get(path, set()) | {part.number}
            await _rewrite(fork, start, now, part.file, attempt)
            # Before the command runs, which can write to it as well.
            tried = await fork.read(path) if await fork.exists(path) else None
            if await passes(fork):
                dropped[path] = attempt
                kept.remove(part)
                contents[path] = tried
            else:
                await _rewrite(fork, start, now, part.file, dropped.get(path, set()))
    finally:
        await fork.discard()
    settled = Dropped(workspace, {})
    try:
        for path, content in contents.items():
            if await workspace.exists(path) and await workspace.read(path) == written[path]:
                settled.before[path] = written[path]
                await _put(workspace, path, content)
    except BaseException:
        await asyncio.shield(settled.put_back())
        raise
    return settled


@dataclass
class Dropped:
    """What was left out: the files, with what they held before."""

    workspace: Workspace
    before: dict[str, bytes]

    async def put_back(self) -> None:
        for path, content in self.before.items():
            await _put(self.workspace, path, content)


async def _put(workspace: Workspace, path: str, content: bytes | None) -> None:
    await drop_bytecode(workspace, path)
    if content is None:
        await workspace.remove(path)
    else:
        await workspace.write(path, content)


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
