"""What a repair may not touch: the tests, what configures them, and the command's own script.

A change there can make a command pass without repairing anything, so that no candidate touches these
files, and a change of the model that did is not called verified.
"""

from __future__ import annotations

import configparser
import posixpath
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_TEST_FOLDERS = {"test", "tests"}
_RUNNER_FILES = {
    "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg", "pyproject.toml",
    "noxfile.py", "sitecustomize.py", "usercustomize.py", "pytest.py",
}  # fmt: skip
_SHARED_CONFIGURATION = {"pyproject.toml", "setup.cfg", "tox.ini"}
"""Files that also hold what has nothing to do with tests: only a change of their pytest part counts."""
_INTERPRETERS = ("python", "pypy", "sh", "bash", "dash", "zsh", "node", "ruby", "perl")
_MAKEFILES = ("Makefile", "makefile", "GNUmakefile")


class Protected:
    def __init__(
        self, command: Sequence[str], tests: Iterable[str] = (), *, root: str = "/", cwd: str = "."
    ) -> None:
        """`tests`: files that are known to hold tests of the command, as a report of it names them.

        The command runs in `cwd`, relative to `root`, the repository.
        """
        self._scripts = {in_repository(path, root, cwd) for path in command_scripts(command)}
        self._tests = {in_repository(path, root, cwd) for path in tests}

    def covers(self, path: str) -> bool:
        """Whether a candidate must leave this file alone."""
        path = _clean(path)
        name = PurePosixPath(path).name
        return (
            path in self._scripts
            or path in self._tests
            or name in _RUNNER_FILES
            or name.endswith(".pth")
            or is_test_file(path)
        )

    def violated(self, path: str, before: bytes | None, after: bytes | None) -> bool:
        """Whether this change (None: the file is not there) touches what is protected."""
        if not self.covers(path) or before == after:
            return False
        name = PurePosixPath(path).name
        only_shared = name in _SHARED_CONFIGURATION and _clean(path) not in self._scripts
        if only_shared and before is not None and after is not None:
            return _pytest_part(name, before) != _pytest_part(name, after)
        return True


def is_test_file(path: str) -> bool:
    """By pytest's and unittest's conventions: its name, or a folder of tests around it."""
    pure = PurePosixPath(path)
    if _TEST_FOLDERS.intersection(part.lower() for part in pure.parts[:-1]):
        return True
    if pure.suffix != ".py":
        return False
    stem = pure.stem
    return stem == "conftest" or stem.startswith("test_") or stem.endswith("_test") or stem in _TEST_FOLDERS


def files_of_tests(node_ids: Iterable[str]) -> set[str]:
    """The files of pytest node ids, without those that are code under test with doctests in it."""
    files: set[str] = set()
    for node_id in node_ids:
        path, _, rest = node_id.partition("::")
        stem = PurePosixPath(path).stem
        dotted = rest.split("[")[0]
        doctest = dotted.split("::")[0].endswith(f".{stem}") or f"{stem}." in dotted or dotted == stem
        if path.endswith(".py") and not doctest:
            files.add(path)
    return files


def in_repository(path: str, root: str, cwd: str) -> str:
    """A path that a command in `cwd` uses, relative to the repository at `root`."""
    return posixpath.relpath(posixpath.join(root, cwd, path), root)


def command_scripts(command: Sequence[str]) -> set[str]:
    """Files that the command itself runs, as its words name them (they need not exist)."""
    scripts: set[str] = set()
    if not command:
        return scripts
    words = list(command)
    if PurePosixPath(words[0]).name in ("make", "gmake"):
        scripts.update(_MAKEFILES)
    for at, word in enumerate(words):
        if at == 0 and "/" in word:
            scripts.add(_clean(word))
        if not PurePosixPath(word).name.startswith(_INTERPRETERS):
            continue
        rest = words[at + 1 :]
        while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
            rest = rest[2:] if rest[0] in ("-W", "-X", "-o") else rest[1:]
        if not rest:
            continue
        if rest[0] == "-m" and len(rest) > 1:
            module = rest[1].replace(".", "/")
            scripts.update((f"{module}.py", f"{module}/__main__.py", f"{module}/__init__.py"))
        elif rest[0] == "-c":
            scripts.update(
                _clean(part) for part in " ".join(rest[1:2]).split() if part.endswith((".py", ".sh"))
            )
        else:
            scripts.add(_clean(rest[0]))
        break
    return scripts


def _clean(path: str) -> str:
    return str(PurePosixPath(path))


def _pytest_part(name: str, data: bytes) -> object:
    """What a shared configuration file tells pytest; the whole file where it cannot be read."""
    try:
        text = data.decode()
        if name == "pyproject.toml":
            tool = tomllib.loads(text).get("tool", {})
            return {key: value for key, value in tool.items() if key.startswith("pytest")}
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(text)
        wanted = ("pytest", "tool:pytest")
        if name == "tox.ini":
            wanted = (*wanted, "tox", "testenv")
        return {section: dict(parser[section]) for section in wanted if parser.has_section(section)}
    except (ValueError, configparser.Error, AttributeError):
        return data
