"""Snapshots of a workspace in a store of Ostro's own; the repository's `.git` is only read.

The work is done by `sandbox/recorder/`, one run of it a request, inside the sandbox: what it reads (files,
ignore rules, file names) is the repository's, and no option of git switches off everything that such files
can make git start.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.errors import ChangedMeanwhile, SandboxEnded, SandboxError, SnapshotMissing, TooLong
from sandbox.launcher import Finished, Launcher
from sandbox.lent_folder import make_folder, touch, write_once
from sandbox.limits import Limits
from sandbox.policy import Mount, Policy
from sandbox.repository import Repository
from sandbox.scratch import remove_tree
from sandbox.supervisor import INSIDE, INSIDE_THERE
from sandbox.toolchain import own_program, workspace_venvs
from sandbox.user_excludes import user_excludes

RECORDER = Path(__file__).with_name("recorder")
RECORDER_INSIDE = Path("/run/ostro/recorder")
STORE_INSIDE = Path("/run/ostro/store")
INDEX_INSIDE = Path("/run/ostro/index")
# Highest precedence of all attributes: a patch shows files byte for byte. `!`, not `-`, where git takes
# "unset" for a value.
ATTRIBUTES = "* -text -ident -filter !eol !working-tree-encoding !diff\n"
EMPTY_REPOSITORIES = {"plain": ATTRIBUTES, "binary": ATTRIBUTES.replace("!diff", "-diff")}
USER_EXCLUDES = "plain/info/user-excludes"
HEAD = "ref: refs/heads/none\n"
GIT_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
# Left behind by running the tests, not by changing the program.
EXCLUDED = ("__pycache__/", "*.py[co]", ".pytest_cache/")
CONFIG = {
    "core.autocrlf": "false", "core.safecrlf": "false", "core.fsmonitor": "false",
    "core.untrackedCache": "false", "core.hooksPath": "/dev/null", "core.attributesFile": "/dev/null",
    "core.symlinks": "true", "core.fileMode": "true", "core.quotePath": "false", "safe.directory": "*",
}  # fmt: skip
GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "LC_ALL": "C",
}  # fmt: skip
RECORDER_LIMITS = Limits(seconds=600, output_bytes=256 << 20, file_bytes=1 << 40, disk_bytes=None)
MOST_NAMED = 10
FORGOTTEN_DAYS = 60
"""A repository's store that no session opened for so long goes."""


class Store:
    """The snapshots of one repository, shared by its workspace and all forks."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder = folder
        self.root = repository.root
        self.git_dir = repository.git_dir
        self.common_dir = repository.common_dir
        self.unproved = [venv.name for venv in workspace_venvs(self.root) if "\n" not in venv.name]
        self.environments: list[str] | None = None
        """Virtual environments that are not recorded: those that were there when the sandbox was opened, for
        else a command could hide any folder by making one of it. None until git has been asked about them."""
        try:
            self._prepare()
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.ENOTDIR):
                raise SandboxError(
                    f"In {folder}, {problem.filename!r} is no folder or file of Ostro's own; remove it."
                ) from None
            raise SandboxError(
                f"Ostro cannot write its checkpoints in {folder} ({problem.strerror}); free some space "
                "there, or set XDG_STATE_HOME to a folder you can write."
            ) from None

    def _prepare(self) -> None:
        _drop_forgotten(self.folder)
        make_folder(self.folder, self.index.name)
        for name, attributes in EMPTY_REPOSITORIES.items():
            for part in ("objects", "refs", "info"):
                make_folder(self.folder, f"{name}/{part}")
            files = {"HEAD": HEAD, "config": GIT_CONFIG, "info/attributes": attributes}
            for file, content in files.items():
                write_once(self.folder, f"{name}/{file}", content.encode())
        write_once(self.folder, USER_EXCLUDES, user_excludes(os.environ, self.root))

    @property
    def user_excludes(self) -> Path:
        """What the user ignores in any repository, as it was when this was opened."""
        return self.folder / USER_EXCLUDES

    @property
    def index(self) -> Path:
        """What the walks over the repository itself saw last; a fork has a folder of its own."""
        return self.folder / "index"


class Snapshots:
    """Records and restores one tree (the workspace or a fork) with an index of its own."""

    def __init__(self, launcher: Launcher, policy: Policy, store: Store, index: Path) -> None:
        self._launcher = launcher
        self._root = policy.root
        self._store = store
        inside = launcher.bubblewrap is not None
        self._in_store = STORE_INSIDE if inside else store.folder
        self._in_index = INDEX_INSIDE if inside else index
        self._in_recorder = RECORDER_INSIDE if inside else RECORDER
        # Git folders inside are put back as they were; what could not be moved would stop it half way.
        own = policy.root / ".git"
        pins = tuple(pin for pin in policy.pins if pin.path.is_relative_to(own))
        # A program named git in the repository would be started with the store open to it.
        self.policy = replace(policy.for_own_programs(store.root), restores=True, pins=pins).with_mounts(
            Mount(RECORDER, self._in_recorder),
            Mount(store.folder, self._in_store, writable=True),
            # What git is told by is not for what it reads to change.
            *(Mount(store.folder / name, self._in_store / name) for name in EMPTY_REPOSITORIES),
            Mount(index, self._in_index, writable=True),
        )
        self._session = secrets.token_hex(8)
        self._notes: list[str] = []

    async def record(self, like: Sequence[str] = ()) -> str:
        """The id (40 hex digits) of the files as they are: tracked, and untracked but not ignored.

        What the snapshots `like` hold counts as recorded, whatever is ignored by now.
        """
        answer, _ = await self._ask("record", like=[_id(id) for id in like])
        return answer["id"]

    async def diff(self, a: str, b: str) -> str:
        """From snapshot `a` to snapshot `b`, in the form that `git apply` takes. Raises SandboxError; TooLong
        where only this form of the difference cannot be had."""
        try:
            return (await self._ask("patch", a=_id(a), b=_id(b)))[1].decode("utf-8")
        except TooLong:
            raise TooLong(
                f"The patch would be longer than {RECORDER_LIMITS.output_bytes >> 20} MiB, so it was left "
                "out; the checkpoints hold all of it, and a huge new file is better ignored by git."
            ) from None

    async def changed(self, a: str, b: str, *, exact: bool = False) -> list[str]:
        """Paths that differ as git would see it, relative to the workspace, sorted.

        With `exact`, also folders, permissions, and what is in the git folders of repositories inside.
        """
        return (await self._ask("changed", a=_id(a), b=_id(b), exact=exact))[0]["changed"]

    async def restore(self, id: str, paths: Sequence[str] | None, expects: str | None = None) -> str:
        """Makes the recorded files (or just `paths`) what they are in a snapshot; ignored files stay.

        The id of what was there before, all of which is recorded first. Raises SandboxError, with nothing
        written, where something unrecorded is in the way; ChangedMeanwhile where what would be overwritten
        is not as the snapshot `expects` has it, or is changed while files are restored (then some are).
        """
        named = None if paths is None else [_relative(path) for path in paths]
        request = {"id": _id(id), "paths": named, "like": [], "expects": expects and _id(expects)}
        answer, _ = await self._ask("restore", **request)
        changed = answer.get("overtaken")
        if changed and answer.get("partly"):
            raise ChangedMeanwhile(
                f"Changed at this moment: {changed[0]}. It was left as it is, and other files were restored "
                "already; look at it, and say it again."
            )
        if changed:
            more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
            raise ChangedMeanwhile(
                f"Changed at this moment: {', '.join(changed[:MOST_NAMED])}{more}. Nothing was restored; "
                "look at it, and say it again."
            )
        return answer["id"]

    def notes(self) -> list[str]:
        """What the user should know since the last call: ignored files that are gone, and the like."""
        notes, self._notes = self._notes, []
        return notes

    async def visible(self, path: str) -> list[str]:
        """Files below `path` that git tracks or would add, by the repository's own index."""
        below = ("--", path) if path not in ("", ".") else ()
        patterns = [f"--exclude={pattern}" for pattern in await self._excluded()]
        names: set[str] = set()
        for which in (["--cached"], ["--others", "--exclude-standard", *patterns]):
            names.update(name.rstrip("/") for name in await self._listed(*which, *below))
        return sorted(names)

    async def _listed(self, *options: str) -> list[str]:
        env = {"GIT_DIR": str(self._store.git_dir), "GIT_WORK_TREE": str(self._root)}
        inside = INSIDE if self._launcher.bubblewrap is None else INSIDE_THERE
        git = [*self._git(), "ls-files", "-z", *options]
        done = await self._run_again(own_program(inside.parent, "inside.awaited_pipes", *git), env)
        return [os.fsdecode(name) for name in _output(done, "`git ls-files`").split(b"\0") if name]

    async def _ask(self, op: str, **request: Any) -> tuple[dict[str, Any], bytes]:
        excluded = "\n".join([*await self._excluded(), ""])
        write_once(self._store.folder, "plain/info/exclude", os.fsencode(excluded))
        place = {
            "root": str(self._root),
            "store": str(self._in_store),
            "index": str(self._in_index),
            "git": self._git(),
            "git_dir": str(self._store.git_dir),
            "git_index": str(self._store.git_dir / "index"),
            "plain": str(self._in_store / "plain"),
            "binary": str(self._in_store / "binary"),
            "own_excludes": str(self._in_store / "plain" / "info" / "exclude"),
            "excludes": [
                str(self._in_store / USER_EXCLUDES),
                str(self._store.common_dir / "info" / "exclude"),
            ],
        }
        told = json.dumps({"place": place, "request": {"op": op, "session": self._session, **request}})
        argv = own_program(self._in_recorder.parent, "recorder.program")
        # What was restored half is not gone on with: it would be recorded as what was there before.
        asking = self._run if op == "restore" else self._run_again
        raw = _output(await asking(argv, {}, told.encode("ascii")), "The recorder of snapshots")
        line, _, data = raw.partition(b"\n")
        answer = json.loads(line)
        if "refused" in answer:
            raise (SnapshotMissing if answer.get("missing") else SandboxError)(answer["refused"])
        self._notes += answer.get("notes", [])
        return answer, data

    async def _run_again(
        self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes | None = None
    ) -> Finished:
        """Once more, in a sandbox that is built anew, where the first one ended meanwhile."""
        try:
            return await self._run(argv, env, stdin)
        except SandboxEnded:
            await self._launcher.release(self.policy)
        return await self._run(argv, env, stdin)

    async def _run(self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes | None = None) -> Finished:
        return await self._launcher.run(
            self.policy, argv, cwd=self._root, limits=RECORDER_LIMITS, env={**GIT_ENVIRONMENT, **env},
            stdin=stdin, merge=False,
        )  # fmt: skip

    def _git(self) -> list[str]:
        config = {**CONFIG, "core.excludesFile": str(self._in_store / USER_EXCLUDES)}
        return ["git", *(part for name, value in config.items() for part in ("-c", f"{name}={value}"))]

    async def _excluded(self) -> list[str]:
        store = self._store
        if store.environments is None:
            found = store.unproved
            tracked = await self._listed("--cached", "--", *found) if found else []
            own = {path.partition("/")[0] for path in tracked}
            store.environments = [name for name in found if name not in own]
        return [*EXCLUDED, *(f"/{_verbatim(name)}/" for name in store.environments)]


def _output(done: Finished, what: str) -> bytes:
    if done.exit_code == 0 and not done.stdout.cut:
        return done.stdout.bytes()
    if done.exit_code == 127:
        raise SandboxError("There is no `git` on PATH; install git.")
    if done.timed_out:
        raise SandboxError(f"{what} did not end in time; is a huge folder not ignored?")
    if done.exit_code == 0:
        raise TooLong(f"{what} said more than {RECORDER_LIMITS.output_bytes >> 20} MiB.")
    if done.exceeded:
        raise SandboxError(f"{what} was stopped, because {done.exceeded}.")
    why = done.stderr.text().strip().splitlines()
    raise SandboxError(f"{what} failed: {why[-1] if why else f'exit code {done.exit_code}'}.")


def _drop_forgotten(current: Path) -> None:
    """Removes the stores of repositories that nobody works in any more; marks this one as in use."""
    touch(current, "used")
    oldest = time.time() - FORGOTTEN_DAYS * 86_400
    for mark in current.parent.glob("*/used"):
        with contextlib.suppress(FileNotFoundError):  # another session may have been quicker
            if mark.lstat().st_mtime < oldest:
                remove_tree(mark.parent)


def _verbatim(name: str) -> str:
    """As a pattern of ignored names."""
    return re.sub(r"([\\*?\[])", r"\\\1", name)


def _id(id: str) -> str:
    if len(id) != 40 or not set(id) <= set("0123456789abcdef"):
        raise SandboxError(f"{id!r} is not the id of a snapshot.")
    return id


def _relative(path: str) -> str:
    clean = os.path.normpath(path)
    if os.path.isabs(clean) or clean.split("/")[0] in ("..", ".git"):
        raise SandboxError(f"{path!r} is not a path of the workspace.")
    return clean
