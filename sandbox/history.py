"""The repository's commits and refs, through a program inside the sandbox: git is never run out here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sandbox import git_guard
from sandbox.errors import HistoryProblem, SandboxError
from sandbox.git_guard import Guarded
from sandbox.launcher import Launcher, Service
from sandbox.limits import Limits
from sandbox.policy import Mount, Policy
from sandbox.repository import Repository
from sandbox.supervisor import INSIDE, INSIDE_THERE
from sandbox.toolchain import own_python

SERVICE = "git_service.py"
LIBRARY = ("git", "gitdb", "smmap")
EXCLUDES_INSIDE = Path("/run/ostro/user-excludes")
ANSWER_WITHIN = 600.0
"""Seconds; a first look at all files of a huge repository takes long."""
LIMITS = Limits(disk_bytes=None)


@dataclass(frozen=True)
class Head:
    """What is checked out."""

    branch: str | None
    """The full name of its ref; None where HEAD is detached."""
    commit: str | None
    """None on a branch without commits."""
    in_progress: str | None = None
    """A merge, a rebase or the like that is not finished, in a word."""


@dataclass(frozen=True)
class Author:
    name: str
    email: str
    date: str
    """In a form that git reads, such as `@1700000000 +0100`."""


class History:
    """Git of one repository, asked through GitPython in a service that lives until `close`.

    Its sandbox is that of the workspace, but that git folders outside (of a linked worktree or a submodule)
    can be written; what makes git run programs is read-only there too.
    """

    def __init__(self, launcher: Launcher, policy: Policy, repository: Repository, excludes: Path) -> None:
        """`excludes` holds what the user ignores in any repository."""
        self._launcher = launcher
        self._excludes = EXCLUDES_INSIDE if launcher.bubblewrap is not None else excludes
        self._policy = policy.with_mounts(Mount(excludes, self._excludes))
        self._repository = repository
        self._service: Service | None = None
        self._turn = asyncio.Lock()

    async def head(self) -> Head:
        """Raises HistoryProblem."""
        return Head(**await self._ask({"op": "status"}))

    async def refs(self) -> Mapping[str, str]:
        """What every ref stands for, by its full name; `HEAD` is the ref that it names, else the commit."""
        return (await self._ask({"op": "refs"}))["refs"]

    async def uncommitted(self) -> list[str]:
        """Paths that are not as HEAD has them, in the index or as files; untracked ones (not ignored) too.

        A folder with a repository in it is named with a `/` at its end.
        """
        return (await self._ask({"op": "uncommitted"}))["paths"]

    async def commit(self, paths: Sequence[str], message: str, author: Author, onto: Head) -> str:
        """Commits `paths` as they are now, deleted ones as well, and nothing else; the commit's id.

        What is staged of other paths stays so. No hook, filter or signing runs. Raises HistoryProblem, and
        nothing is changed, where HEAD is not `onto` any more, a merge or the like is in progress, another git
        holds the index, or a path would be stored through a filter.
        """
        told = {"paths": list(paths), "message": message, "author": asdict(author)}
        request = {"op": "commit", **told, "branch": onto.branch, "parent": onto.commit}
        return (await self._ask(request))["commit"]

    async def close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.stop()

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._turn:
            answer = await self._exchange(json.dumps(request).encode("ascii") + b"\n")
        if "refused" in answer:
            raise HistoryProblem(answer["refused"])
        return answer

    async def _exchange(self, line: bytes) -> dict[str, Any]:
        """Never asked twice: a commit may have been made although nothing said so."""
        service = await self._running()
        done = False
        try:
            service.writer.write(line)
            await service.writer.drain()
            answer = json.loads(await asyncio.wait_for(service.reader.readuntil(b"\n"), ANSWER_WITHIN))
            done = True
            return answer
        except TimeoutError:
            raise HistoryProblem("Git did not answer within ten minutes.") from None
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            raise HistoryProblem(
                f"The sandbox's git service ended; does GitPython run with {own_python()}?"
            ) from None
        finally:
            # Half an answer may be left in the pipe, also where the caller was cancelled.
            if not done:
                await self.close()

    async def _running(self) -> Service:
        if self._service is not None and self._service.alive:
            return self._service
        await self.close()
        script = (INSIDE if self._launcher.bubblewrap is None else INSIDE_THERE) / SERVICE
        root, git_dir = str(self._repository.root), str(self._repository.git_dir)
        argv = [str(own_python()), "-I", "-S", "-X", "utf8", str(script), root, git_dir, str(self._excludes)]
        argv += map(str, library())
        policy = await asyncio.to_thread(_policy, self._policy, self._repository)
        self._service = await self._launcher.service(
            policy, argv, cwd=policy.root, limits=LIMITS, line_bytes=64 << 20
        )
        return self._service


def library() -> tuple[Path, ...]:
    """Where GitPython lies, found without importing it. Raises SandboxError where it is not installed."""
    found = [importlib.util.find_spec(name) for name in LIBRARY]
    places = [spec.submodule_search_locations for spec in found if spec]
    if len(places) < len(LIBRARY) or not all(places):
        raise SandboxError("GitPython is not installed beside Ostro; run `pip install GitPython` there.")
    return tuple(Path(os.path.realpath(place[0])) for place in places if place)


def _policy(policy: Policy, repository: Repository) -> Policy:
    outside = [folder for folder in repository.outside if not folder.is_relative_to(repository.root)]
    held = [pin for folder in outside for pin in git_guard.pins(folder, folder, _git_folders(folder))]
    # A program named git in the repository would be started with more rights than its other programs have.
    policy = policy.for_own_programs(repository.root)
    return replace(
        policy.with_mounts(*(Mount(folder, folder, writable=True) for folder in outside)),
        pins=(*policy.pins, *held),
    )


def _git_folders(folder: Path) -> list[Guarded]:
    """A git folder and those in it, relative to it."""
    return [Guarded("", True), *git_guard.survey(folder, "git")]
