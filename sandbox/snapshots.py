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
EXCLUDED = ("__pycache__/", "*.py[co]", ".pytest_cache/")
UPDATE = ("add", "--update")
UNTRACKED = ("--others", "--exclude-standard")
# Runs the first N words as one command, then the rest as another; the first one says nothing.
BOTH = """
n=$1; shift; i=0; first=
while [ $i -lt $n ]; do i=$((i+1)); first="$first \\"\\${$i}\\""; done
eval "$first" > /dev/null || exit; shift "$n"; exec "$@"
"""
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
            _write(git / "HEAD", "ref: refs/heads/none\n")
            _write(git / "config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
            _write(git / "info" / "attributes", attributes)


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
        """The tree id (40 hex digits) of the files as they are: tracked, and untracked but not ignored.

        A git repository inside the workspace that is not a submodule is left out.
        """
        if not self._started:
            await self._begin()
            self._started = True
        new = await self._git(*UPDATE, "--", ".", then=["ls-files", "-z", *UNTRACKED])
        names = [name for name in new.split(b"\0") if name and not name.endswith(b"/")]
        add = ["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]
        return (await self._git(*add, stdin=b"\0".join(names), then=["write-tree"])).decode().strip()

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
        """Files below `path` that git tracks or would add, by the repository's own index."""
        below = ("--", path) if path not in ("", ".") else ()
        names: set[str] = set()
        for which in (["--cached"], [*UNTRACKED, *(f"--exclude={pattern}" for pattern in self._excluded())]):
            raw = await self._git("ls-files", "-z", *which, *below, own=True)
            names.update(os.fsdecode(name).rstrip("/") for name in raw.split(b"\0") if name)
        return sorted(names)

    async def _begin(self) -> None:
        """Tells the private index what the repository tracks, some of which its ignore rules may match.

        Each file starts as an empty one; the update that follows reads what is really there.
        """
        _write(self._store.folder / "store" / "info" / "exclude", "\n".join([*self._excluded(), ""]))
        listed = await self._git("ls-files", "-z", "--stage", own=True)
        tracked = [entry.split(b"\t", 1) for entry in listed.split(b"\0") if entry]
        modes = [(info.split()[0], name) for info, name in tracked]
        empty = (await self._git("hash-object", "-w", "--stdin", stdin=b"")).strip()
        lines = [b"%s %s\t%s" % (mode, empty, name) for mode, name in modes if mode in REGULAR]
        await self._git("update-index", "-z", "--index-info", stdin=b"\0".join([*lines, b""]))

    def _excluded(self) -> list[str]:
        return [*EXCLUDED, *(f"/{venv.name}/" for venv in workspace_venvs(self._root))]

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
        self, *argv: str, then: Sequence[str] = (), stdin: bytes | None = None, index: str = "index",
        which: str = "store", own: bool = False,
    ) -> bytes:  # fmt: skip
        """Standard output of `git ARGV`, or of a second git command where one follows in the same sandbox.

        `which` names the git folder to use; `own` takes the repository's, for its list of files.
        """
        env = {**GIT_ENVIRONMENT, "GIT_WORK_TREE": str(self._root)}
        if own:
            env["GIT_DIR"] = str(self._store.git_dir)
        else:
            env["GIT_DIR"] = str(self._in_store / which)
            env["GIT_OBJECT_DIRECTORY"] = str(self._in_store / "store" / "objects")
            env["GIT_INDEX_FILE"] = str(self._in_index / index)
        config = {**CONFIG, "core.excludesFile": str(self._store.common_dir / "info" / "exclude")}
        options = [part for name, value in config.items() for part in ("-c", f"{name}={value}")]
        command = ["git", *options, *argv]
        if then:
            command = ["/bin/sh", "-c", BOTH, "sh", str(len(command)), *command, "git", *options, *then]
        done = await self._launcher.run(
            self._policy, command, cwd=self._root, limits=GIT_LIMITS, env=env, stdin=stdin, merge=False
        )
        if done.exit_code == 0 and not done.stdout.cut:
            return done.stdout.bytes()
        if done.exit_code == 127:
            raise SandboxError("There is no `git` on PATH; install git.")
        if done.timed_out or done.stdout.cut:
            raise SandboxError(f"`git {argv[0]}` did not end in time; is a huge folder not ignored?")
        why = done.stderr.text().strip().splitlines()
        raise SandboxError(f"`git {argv[0]}` failed: {why[-1] if why else f'exit code {done.exit_code}'}.")


def _write(path: Path, text: str) -> None:
    """In one step, and only where it differs: another session may be reading."""
    if path.exists() and path.read_text() == text:
        return
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)


def _id(tree: str) -> str:
    if len(tree) not in (40, 64) or not set(tree) <= set("0123456789abcdef"):
        raise SandboxError(f"{tree!r} is not the id of a snapshot.")
    return tree


def _relative(path: str) -> str:
    clean = os.path.normpath(path)
    if os.path.isabs(clean) or clean.split("/")[0] in ("..", ".git"):
        raise SandboxError(f"{path!r} is not a path of the workspace.")
    return clean
