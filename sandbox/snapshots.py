"""Snapshots of a workspace in a private git store; the repository's own `.git` is only read.

Git runs inside the sandbox: what it reads (attributes, ignore rules, file names) is the
repository's, and no option switches off everything that such files can make git start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.launcher import Launcher
from sandbox.limits import Limits
from sandbox.policy import Mount, Policy
from sandbox.toolchain import workspace_venvs

STORE_INSIDE = Path("/run/ostro/store")
INDEX_INSIDE = Path("/run/ostro/index")
# Highest precedence of all attributes: files are recorded byte for byte. `!`, not `-`, where git
# takes "unset" for a value.
ATTRIBUTES = "* -text -ident -filter !eol !working-tree-encoding !diff\n"
BINARY_ATTRIBUTES = ATTRIBUTES.replace("!diff", "-diff")
# Left behind by running the tests, not by changing the program.
EXCLUDED = "__pycache__/\n*.py[co]\n.pytest_cache/\n"
CONFIG = {
    "core.autocrlf": "false", "core.safecrlf": "false", "core.fsmonitor": "false",
    "core.untrackedCache": "false", "core.hooksPath": "/dev/null", "core.attributesFile": "/dev/null",
    "core.symlinks": "true", "core.fileMode": "true", "core.quotePath": "false", "gc.auto": "0",
    "advice.addEmbeddedRepo": "false", "core.fsync": "none", "core.looseCompression": "1",
}  # fmt: skip
GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C",
}  # fmt: skip
GIT_LIMITS = Limits(seconds=600, output_bytes=256 << 20)
REGULAR = (b"100644", b"100755", b"120000")


class Store:
    """The objects of one repository's snapshots, shared by its workspace and all forks."""

    def __init__(self, folder: Path, git_dir: Path, common_dir: Path) -> None:
        self.folder = folder
        self.git_dir = git_dir
        self.common_dir = common_dir
        for name, attributes in (("store", ATTRIBUTES), ("binary", BINARY_ATTRIBUTES)):
            git = folder / name
            for part in ("objects", "refs", "info"):
                (git / part).mkdir(parents=True, exist_ok=True)
            (git / "HEAD").write_text("ref: refs/heads/none\n")
            (git / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
            (git / "info" / "attributes").write_text(attributes)


class Snapshots:
    """Records and restores one tree (the workspace or a fork) with an index of its own."""

    def __init__(self, launcher: Launcher, policy: Policy, store: Store, index: Path) -> None:
        self._launcher = launcher
        self._root = policy.root
        self._store = store
        self._index = index
        self._in_store = STORE_INSIDE if launcher.bubblewrap else store.folder
        self._in_index = INDEX_INSIDE if launcher.bubblewrap else index
        self._policy = policy.with_mounts(
            Mount(store.folder, self._in_store, writable=True), Mount(index, self._in_index, writable=True)
        )
        self._started = False

    async def record(self) -> str:
        """The tree id (40 hex digits) of the files as they are: tracked, and untracked but not ignored."""
        if not self._started:
            await self._begin()
            self._started = True
        await self._git("add", "--all", "--", ".")
        return (await self._git("write-tree")).decode().strip()

    async def diff(self, a: str, b: str) -> str:
        """From tree `a` to tree `b`, in the form that `git apply` takes."""
        raw = await self._diff("store", a, b, ())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
        parts: list[str] = []
        for path in await self.changed(a, b):
            text = await self._diff("store", a, b, (path,))
            try:
                parts.append(text.decode("utf-8"))
            except UnicodeDecodeError:
                # As a binary patch any content is plain ASCII.
                parts.append((await self._diff("binary", a, b, (path,))).decode("ascii"))
        return "".join(parts)

    async def changed(self, a: str, b: str) -> list[str]:
        """Paths that differ, relative to the workspace, sorted."""
        raw = await self._git("diff-tree", "-r", "-z", "--no-renames", "--name-only", _id(a), _id(b))
        return sorted(os.fsdecode(name) for name in raw.split(b"\0") if name)

    async def restore(self, tree: str, paths: Sequence[str] | None) -> None:
        """Makes the recorded files (or just `paths`) what they are in `tree`; ignored files stay."""
        now = await self.record()
        target = _id(tree) if paths is None else await self._merged(now, _id(tree), paths)
        await self._git("read-tree", "--reset", "-u", target)

    async def visible(self, path: str) -> list[str]:
        """Files below `path` that git tracks or would add, from the repository's own index."""
        below = (path,) if path not in ("", ".") else ()
        names: set[str] = set()
        for which in (["--cached"], ["--others", "--exclude-standard"]):
            raw = await self._git("ls-files", "-z", *which, "--", *below, own_index=True)
            names.update(os.fsdecode(name) for name in raw.split(b"\0") if name)
        return sorted(name.rstrip("/") for name in names)

    async def _begin(self) -> None:
        """Tells the private index what the repository tracks, which may match its own ignore rules."""
        excluded = EXCLUDED + "".join(f"/{venv.name}/\n" for venv in workspace_venvs(self._root))
        (self._store.folder / "store" / "info" / "exclude").write_text(excluded)
        listed = await self._git("ls-files", "-z", "--stage", own_index=True)
        tracked = [e.split(b"\t", 1) for e in listed.split(b"\0") if e]
        names = [name for info, name in tracked if info.split()[0] in REGULAR]
        if names:
            await self._git("update-index", "--add", "--remove", "-z", "--stdin", stdin=b"\0".join(names))

    async def _diff(self, which: str, a: str, b: str, paths: Sequence[str]) -> bytes:
        quote = ("-c", "core.quotePath=true") if which == "binary" else ()
        return await self._git(
            *quote, "diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color",
            "--no-renames", "--src-prefix=a/", "--dst-prefix=b/", _id(a), _id(b), "--", *paths, which=which,
        )  # fmt: skip

    async def _merged(self, now: str, tree: str, paths: Sequence[str]) -> str:
        """The tree `now` with `paths` as they are in `tree`."""
        names = [_relative(path) for path in paths]
        await self._git("read-tree", now, index="merge")
        here = await self._git("ls-files", "-z", "--", *names, index="merge")
        await self._git("update-index", "-z", "--force-remove", "--stdin", stdin=here, index="merge")
        there = await self._git("ls-tree", "-r", "-z", "--full-tree", tree, "--", *names)
        await self._git("update-index", "-z", "--index-info", stdin=there, index="merge")
        return (await self._git("write-tree", index="merge")).decode().strip()

    async def _git(
        self, *argv: str, stdin: bytes | None = None, index: str = "index", which: str = "store",
        own_index: bool = False,
    ) -> bytes:  # fmt: skip
        store = self._in_store / which
        env = {**GIT_ENVIRONMENT, "GIT_DIR": str(store), "GIT_WORK_TREE": str(self._root)}
        env["GIT_OBJECT_DIRECTORY"] = str(self._in_store / "store" / "objects")
        env["GIT_INDEX_FILE"] = str(self._in_index / index)
        if own_index:
            git_dir = self._store.git_dir
            env["GIT_INDEX_FILE"] = str(git_dir / "index")
        config = {**CONFIG, "core.excludesFile": str(self._store.common_dir / "info" / "exclude")}
        options = [part for name, value in config.items() for part in ("-c", f"{name}={value}")]
        done = await self._launcher.run(
            self._policy, ["git", *options, *argv], cwd=self._root, limits=GIT_LIMITS, env=env,
            stdin=stdin, merge=False,
        )  # fmt: skip
        if done.exit_code == 0 and not done.stdout.cut:
            return done.stdout.bytes()
        if done.exit_code == 127:
            raise SandboxError("There is no `git` on PATH; install git.")
        if done.timed_out or done.stdout.cut:
            raise SandboxError(
                f"`git {argv[0]}` took too long or said too much; is a huge folder not ignored?"
            )
        why = done.stderr.text().strip().splitlines()
        raise SandboxError(f"`git {argv[0]}` failed: {why[-1] if why else f'exit code {done.exit_code}'}.")


def _id(tree: str) -> str:
    if len(tree) not in (40, 64) or not set(tree) <= set("0123456789abcdef"):
        raise SandboxError(f"{tree!r} is not the id of a snapshot.")
    return tree


def _relative(path: str) -> str:
    clean = os.path.normpath(path)
    if os.path.isabs(clean) or clean.split("/")[0] in ("..", ".git"):
        raise SandboxError(f"{path!r} is not a path of the workspace.")
    return clean
