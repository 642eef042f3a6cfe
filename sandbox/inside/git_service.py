"""Answers what Ostro asks of the repository's git, from inside the sandbox, with GitPython.

Started as `python -I -S git_service.py ROOT GIT_DIR EXCLUDES PACKAGE...` and spoken to over stdin and stdout:
one JSON line a request and an answer. EXCLUDES is the user's list of ignored names, a PACKAGE the folder of
GitPython or of what it imports. Git's commands for scripts do the work, since GitPython's own reading of
objects knows no SHA-256.
Whatever the repository's configuration would start (hooks, signing, filters, the file system monitor, pagers,
fetches of missing objects) is switched off by the environment, which no configuration can override.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from typing import Any

OFF = {
    "core.fsmonitor": "false", "core.hooksPath": "/dev/null", "core.pager": "cat", "core.editor": ":",
    "commit.gpgSign": "false", "gpg.program": "/bin/false", "gc.auto": "0", "maintenance.auto": "false",
    "protocol.allow": "never", "i18n.commitEncoding": "UTF-8",
}  # fmt: skip
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_EDITOR": ":", "GIT_PAGER": "cat", "GIT_PYTHON_REFRESH": "quiet",
    "HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null",
}  # fmt: skip
"""The home folder is where commands write: git would take attributes and ignored names from there."""
PROGRAMS = r"^(filter\..*\.(clean|smudge|process|required)|hook\..*\.(command|event|enabled))$"
IN_PROGRESS = {
    "MERGE_HEAD": "merge", "rebase-merge": "rebase", "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert", "sequencer": "sequence of picks",
}  # fmt: skip
MOST_NAMED = 3


class Refused(Exception):
    """One sentence for the caller."""


class Repository:
    def __init__(self, root: str, git_dir: str, excludes: str) -> None:
        from git.cmd import Git  # only now, for `serve` has to say first where it lies

        self._root = root
        self._git_dir = git_dir
        self._git = Git(root)
        self._base = {**ENVIRONMENT, "GIT_DIR": git_dir, "GIT_WORK_TREE": root}
        self._own_settings = {**OFF, "core.excludesFile": excludes}
        self._env = {**self._base, **_settings(self._own_settings)}

    def settle(self) -> None:
        """Switches off the programs that the configuration names by now: a file it includes may change."""
        off = dict(self._own_settings)
        listed = self._ask("config", "-z", "--name-only", "--get-regexp", PROGRAMS, codes=(0, 1))
        for name in _split(listed):
            section, _, key = name.rpartition(".")
            if section.startswith("hook."):
                off[f"{section}.enabled"] = "false"
            else:
                off[name] = "false" if key == "required" else ""
        self._env = {**self._base, **_settings(off)}

    def status(self) -> dict[str, Any]:
        """Where HEAD is, as far as there is one."""
        branch = self._line("symbolic-ref", "--quiet", "HEAD", codes=(0, 1))
        commit = self._line("rev-parse", "--quiet", "--verify", "HEAD^{commit}", codes=(0, 1))
        going = [what for name, what in IN_PROGRESS.items() if os.path.lexists(self._own(name))]
        return {
            "branch": branch or None,
            "commit": commit or None,
            "in_progress": going[0] if going else None,
        }

    def refs(self) -> dict[str, Any]:
        """HEAD (what it points to, or is) and every ref, with what they stand for."""
        listed = self._ask("for-each-ref", "--format=%(objectname) %(refname)")
        lines = [os.fsdecode(line) for line in listed.splitlines()]
        status = self.status()
        refs = {name: value for value, name in (line.split(" ", 1) for line in lines)}
        return {"refs": {"HEAD": status["branch"] or status["commit"] or "", **refs}}

    def uncommitted(self) -> dict[str, Any]:
        """What differs between HEAD, the index and the files, and what is not tracked; `/` ends a folder."""
        told = _split(self._ask(
            "status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=all",
            "--ignore-submodules=all",
        ))  # fmt: skip
        fields = {"1": 8, "u": 10, "?": 1}
        return {"paths": [e.split(" ", fields[e[0]])[-1] for e in told if e[0] in fields]}

    def commit(
        self, paths: list[str], message: str, author: dict[str, str], branch: str | None, parent: str | None
    ) -> dict[str, Any]:
        """Commits `paths` as they are, and nothing else, onto `parent` where HEAD still is that.

        What else is staged stays so. The index is changed as git does it: under its lock, after the ref.
        """
        status = self.status()
        if status["in_progress"]:
            raise Refused(f"A {status['in_progress']} is in progress; finish it, then commit.")
        if (status["branch"], status["commit"]) != (branch, parent):
            raise Refused(_moved(branch, parent, status))
        self._require_plain(paths)
        with self._index_lock() as lock, tempfile.TemporaryDirectory() as folder:
            new_index, only_paths = os.path.join(folder, "index"), os.path.join(folder, "only")
            if os.path.exists(self._own("index")):
                # With its time, by which git knows which files it has to look into again.
                shutil.copy2(self._own("index"), new_index)
            entries = self._staged(paths, new_index)
            tree = self._tree(paths, entries, parent, only_paths)
            if parent and tree == self._line("rev-parse", f"{parent}^{{tree}}"):
                raise Refused("The changed files are as in the last commit.")
            commit = self._object(tree, parent, message, author)
            self._move(branch, parent, commit, message)
            _replace(self._own("index"), new_index, lock)
        return {"commit": commit}

    def _require_plain(self, paths: list[str]) -> None:
        """Refuses what is another repository's, what git would store in another form than by its own
        conversions, and what it is told not to look at."""
        modules = {e.split("\t", 1)[1] for e in self._entries() if e.startswith("160000 ")}
        if names := [path for path in paths if self._in_another(path, modules)]:
            raise Refused(f"{_named(names)} is in a repository of its own.")
        told = _split(self._ask("check-attr", "-z", "--stdin", "filter", stdin=_joined(paths)))
        drivers = dict(zip(told[::3], told[2::3], strict=True))
        if names := [path for path in paths if drivers[path] not in ("unspecified", "unset", "set")]:
            raise Refused(
                f"{_named(names)} would be stored through a filter ({drivers[names[0]]}), and none is run."
            )
        flagged = _split(self._ask("ls-files", "-v", "-z"))
        wanted = set(paths)
        if names := [e[2:] for e in flagged if (e[0] == "S" or e[0].islower()) and e[2:] in wanted]:
            raise Refused(f"{_named(names)} is marked in the index as not to be looked at.")

    def _in_another(self, path: str, modules: set[str]) -> bool:
        return any(
            above in modules or os.path.lexists(os.path.join(self._root, above, ".git"))
            for above in _folders(path)
        )

    def _is_behind_a_link(self, path: str) -> bool:
        return any(os.path.islink(os.path.join(self._root, above)) for above in _folders(path))

    def _entries(self, index: str | None = None) -> list[str]:
        """Mode, id, stage and path of all that is in an index."""
        return _split(
            self._ask("ls-files", "--stage", "-z", env={"GIT_INDEX_FILE": index} if index else None)
        )

    def _staged(self, paths: list[str], index: str) -> dict[str, str]:
        """Takes `paths` into an index as they are; its entries (mode and id) for those that exist."""
        where = {"GIT_INDEX_FILE": index}
        # Git itself takes none for gone where a folder above has become a link.
        gone = [path for path in paths if self._is_behind_a_link(path)]
        self._ask("update-index", "--force-remove", "-z", "--stdin", stdin=_joined(gone), env=where)
        add = ("update-index", "--add", "--remove", "--replace", "-z", "--stdin")
        self._ask(*add, stdin=_joined(sorted(set(paths) - set(gone))), env=where)
        wanted = set(paths)
        entries = (entry.split("\t", 1) for entry in self._entries(index))
        return {path: " ".join(info.split()[:2]) for info, path in entries if path in wanted}

    def _tree(self, paths: list[str], entries: dict[str, str], parent: str | None, index: str) -> str:
        """The parent's tree with those entries in the place of `paths`."""
        where = {"GIT_INDEX_FILE": index}
        self._ask("read-tree", *([parent] if parent else ["--empty"]), env=where)
        nothing = "0 " + self._line("hash-object", "--stdin", stdin=b"")
        gone = [f"{nothing}\t{path}" for path in paths if path not in entries]
        lines = [*gone, *(f"{info}\t{path}" for path, info in entries.items())]
        self._ask("update-index", "-z", "--index-info", stdin=_joined(lines), env=where)
        return self._line("write-tree", env=where)

    def _object(self, tree: str, parent: str | None, message: str, author: dict[str, str]) -> str:
        who = {
            f"GIT_{role}_{part.upper()}": author[part]
            for role in ("AUTHOR", "COMMITTER")
            for part in ("name", "email", "date")
        }
        onto = ("-p", parent) if parent else ()
        text = os.fsencode(message)
        return self._line("commit-tree", "--no-gpg-sign", tree, *onto, "-F", "-", stdin=text, env=who)

    def _move(self, branch: str | None, parent: str | None, commit: str, message: str) -> None:
        """From `parent` alone: somebody may have committed meanwhile."""
        first = message.partition("\n")[0]
        what = ["-m", f"commit: {first}", branch or "HEAD", commit, parent or ""]
        try:
            self._ask("update-ref", *([] if branch else ["--no-deref"]), *what)
        except Refused:
            status = self.status()
            if (status["branch"], status["commit"]) == (branch, parent):
                raise
            raise Refused(_moved(branch, parent, status)) from None

    @contextlib.contextmanager
    def _index_lock(self) -> Iterator[str]:
        """Git's own: no git changes the index meanwhile. The lock's path; gone in the end."""
        path = self._own("index.lock")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            raise Refused(f"Another git is at work here, or one was killed ({path} exists).") from None
        except OSError as problem:
            raise Refused(f"{path} cannot be made ({problem.strerror}).") from None
        try:
            yield path
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _own(self, name: str) -> str:
        return os.path.join(self._git_dir, name)

    def _line(self, *argv: str, **more: Any) -> str:
        return os.fsdecode(self._ask(*argv, **more)).rstrip("\n")

    def _ask(
        self, *argv: str, stdin: bytes = b"", env: dict[str, str] | None = None, codes: tuple[int, ...] = (0,)
    ) -> bytes:
        """Standard output of a git command. Raises Refused with its last words."""
        from awaited_pipes import answered, told  # pyright: ignore[reportMissingImports]
        from git.exc import GitCommandNotFound

        with tempfile.TemporaryFile() as source:
            source.write(stdin)
            source.seek(0)
            try:
                with answered(self._root) as others:
                    code, output, errors = self._git.execute(
                        ["git", *argv], istream=source, with_extended_output=True, with_exceptions=False,
                        stdout_as_string=False, strip_newline_in_stdout=False,
                        env={**self._env, **(env or {})},
                    )  # fmt: skip
            except GitCommandNotFound:
                raise Refused("There is no `git` on PATH; install git.") from None
        if others:
            raise Refused(told(others[0]))
        if code in codes:
            return output
        words = os.fsdecode(errors).strip().splitlines()
        raise Refused(f"`git {argv[0]}` failed: {(words[-1] if words else f'exit code {code}').rstrip('.')}.")


def _settings(config: dict[str, str]) -> dict[str, str]:
    """Configuration by the environment: no name can be misread in it, and it overrides every file."""
    made = {"GIT_CONFIG_COUNT": str(len(config))}
    for n, (name, value) in enumerate(config.items()):
        made |= {f"GIT_CONFIG_KEY_{n}": name, f"GIT_CONFIG_VALUE_{n}": value}
    return made


def _moved(branch: str | None, parent: str | None, now: dict[str, Any]) -> str:
    if branch != now["branch"]:
        return f"{now['branch'] or 'No branch'} is checked out by now, and it was {branch or 'none'}."
    return f"{branch or 'HEAD'} has moved since the start, from {parent or 'nothing'} to {now['commit']}."


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _replace(index: str, new: str, lock: str) -> None:
    """Writes the new index into its lock, which takes the old one's place."""
    shutil.copy2(new, lock)
    if os.path.exists(index):
        shutil.copymode(index, lock)
    with open(lock, "rb") as file:
        os.fsync(file.fileno())
    os.rename(lock, index)


def _folders(path: str) -> list[str]:
    """Those that a path lies in, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _split(output: bytes) -> list[str]:
    return [os.fsdecode(part) for part in output.split(b"\0") if part]


def _joined(lines: list[str]) -> bytes:
    return b"".join(os.fsencode(line) + b"\0" for line in lines)


def answer(repository: Repository, request: dict[str, Any]) -> dict[str, Any]:
    operation = request.pop("op")
    try:
        repository.settle()
        match operation:
            case "status":
                return repository.status()
            case "refs":
                return repository.refs()
            case "uncommitted":
                return repository.uncommitted()
            case "commit":
                return repository.commit(**request)
        return {"refused": f"There is no operation {operation!r}."}
    except Refused as refusal:
        return {"refused": str(refusal)}
    except OSError as problem:
        return {"refused": f"{problem.filename}: {problem.strerror}."}


class Packages:
    """Finds these packages alone: where only they may be read, nobody can list the folder around them."""

    def __init__(self, folders: list[str]) -> None:
        self._folders = {os.path.basename(folder): folder for folder in folders}

    def find_spec(self, name: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        folder = self._folders.get(name)
        if folder is None:
            return None
        start = os.path.join(folder, "__init__.py")
        return importlib.util.spec_from_file_location(name, start, submodule_search_locations=[folder])


def serve(root: str, git_dir: str, excludes: str, packages: list[str]) -> None:
    sys.path.append(os.path.dirname(__file__))
    sys.meta_path.append(Packages(packages))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    repository = Repository(root, git_dir, excludes)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        sink.write(json.dumps(answer(repository, json.loads(line))).encode("ascii") + b"\n")
        sink.flush()


if __name__ == "__main__":
    top, own, ignored, *libraries = sys.argv[1:]
    serve(top, own, ignored, libraries)
