"""The user's own programs inside the sandbox: which PATH, and which folders have to be readable.

Home folders are hidden, yet Python, Node or Rust often live in one (pyenv, nvm, cargo, pipx, uv).
What the caller's PATH and VIRTUAL_ENV lead to is bound read-only: an installation of a known layout as
a whole, else the folder of programs alone, never the home folder around it. A `bin` with a `lib` beside
it is no installation yet: so looks many a folder of one's own work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM_FOLDERS = {"bin", "sbin", "shims", "condabin", "libexec"}
# What only an installation has, as patterns below its prefix.
INSTALLATION_MARKS = (
    "pyvenv.cfg", "conda-meta", "lib*/py*/os.py",  # Python, PyPy, their virtual environments, conda
    "lib/node_modules", "lib/rustlib", "src/cmd/go", "lib/modules", "jre/lib/rt.jar",  # Node, Rust, Go, Java
    "lib*/ruby/[0-9]*", "lib/ruby/gems", "lib*/perl5", "lib/erlang", "lib/elixir", "lib/ocaml", "lib/ghc*",
    "lib*/gcc", "lib*/clang", "lib/julia", "lib/maven-core-*.jar", "lib/gradle-launcher-*.jar",
    "Cellar", ".spack",  # Homebrew, Spack
)  # fmt: skip
# Where version managers keep what they install, and what else only their own folder holds.
MANAGERS = {
    "versions": ("shims", "nvm.sh", "libexec/*env"),
    "installs": ("shims", "plugins"),
    "candidates": ("bin/sdkman-init.sh",),
}
# Variables that version managers' shims need, with the place each takes when it is not set.
ROOT_VARIABLES: dict[str, str | None] = {
    "PYENV_ROOT": ".pyenv",
    "RBENV_ROOT": ".rbenv",
    "ASDF_DATA_DIR": ".asdf",
    "RUSTUP_HOME": ".rustup",
    "CONDA_PREFIX": None,
    "JAVA_HOME": None,
    "GOROOT": None,
}
PASSED_ON = {
    "LANG", "LANGUAGE", "TERM", "TZ", "USER", "LOGNAME", "VIRTUAL_ENV", "PYENV_VERSION", "PYTHONPATH",
    "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONWARNINGS", "PYTHONIOENCODING", "PYTHONSAFEPATH",
    "PYTHONNOUSERSITE", "RUSTUP_TOOLCHAIN", *ROOT_VARIABLES,
}  # fmt: skip
MOST_PROGRAMS = 4000
MOST_LINKS = 40
"""On the way to a folder; the kernel follows no more."""


@dataclass(frozen=True)
class Toolchain:
    path: tuple[str, ...]
    """PATH entries, in the caller's order, without those in the workspace that need a look by git."""
    undecided: tuple[str, ...]
    """PATH entries in the workspace that no virtual environment owns: kept only if git tracks them."""
    readable: tuple[Path, ...]
    """Files and folders under a hidden folder that the programs need, parents before children."""


def survey(environ: Mapping[str, str], root: Path, hidden: Sequence[Path], home: Path) -> Toolchain:
    """What the caller's PATH and its companions need. Reads the host's file system, changes nothing."""
    search = _Search(root, hidden, home)
    path: list[str] = []
    undecided: list[str] = []
    for entry in dict.fromkeys(environ.get("PATH", os.defpath).split(os.pathsep)):
        if not os.path.isabs(entry) or not os.path.isdir(entry):
            continue
        if _inside(Path(entry), root):
            (path if _owned_by_venv(Path(entry), root) else undecided).append(entry)
            continue
        path.append(entry)
        search.add_folder(Path(entry))
    venv = environ.get("VIRTUAL_ENV")
    if venv and os.path.isabs(venv) and os.path.isdir(venv):
        search.add_folder(Path(venv) / "bin")
    for variable, default in ROOT_VARIABLES.items():
        place = environ.get(variable) or (str(home / default) if default else "")
        if os.path.isabs(place) and os.path.isdir(place):
            search.add(Path(place))
    for site in sorted((home / ".local" / "lib").glob("python3*")):
        search.add(site)
    search.add_own_python()
    search.add_workspace_venvs()
    return Toolchain(tuple(path), tuple(undecided), search.found())


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The allow-listed part of the caller's environment; PATH and HOME are set by the policy."""
    return {k: v for k, v in environ.items() if k in PASSED_ON or k.startswith("LC_")}


def own_python() -> Path:
    """The interpreter that runs our stdlib-only programs inside, outside any virtual environment."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))


def own_program(folder: Path, module: str, *argv: str) -> list[str]:
    """The command that runs `main` of a module of ours, which lies in a package in `folder`."""
    start = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; main()"
    return [str(own_python()), "-I", "-S", "-X", "utf8", "-c", start, str(folder), *argv]


def workspace_venvs(root: Path) -> list[Path]:
    """Virtual environments right below `root` (real folders, not links, with programs in them)."""
    try:
        with os.scandir(root) as entries:
            folders = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(f for f in folders if os.path.lexists(f / "pyvenv.cfg") and _has_programs(f))


def _has_programs(venv: Path) -> bool:
    return os.path.lexists(venv / "bin" / "python") or (venv / "Scripts").is_dir()


class _Search:
    def __init__(self, root: Path, hidden: Sequence[Path], home: Path) -> None:
        self._root = root
        self._hidden = [Path(os.path.realpath(h)) for h in hidden]
        self._broad = {*self._hidden, home, home / ".local", home / ".cargo", home / ".config"}
        self._found: set[Path] = set()

    def found(self) -> tuple[Path, ...]:
        tops = [p for p in self._found if not any(q != p and _inside(p, q) for q in self._found)]
        return tuple(sorted(tops, key=lambda p: (len(p.parts), str(p))))

    def add(self, path: Path) -> None:
        """Binds `path` itself, where it would be hidden and is not as wide as a home folder."""
        if self._is_hidden(path) and not self._too_wide(path) and path.exists():
            self._found.add(path)

    def add_installation(self, prefix: Path) -> bool:
        real = Path(os.path.realpath(prefix))
        for place in (prefix, real):
            if self._too_wide(place) or not _is_installation(place):
                return False
        self.add(prefix)
        self.add(real)
        self._add_programs(real / "bin", python_only=True)
        return True

    def add_folder(self, folder: Path) -> None:
        """A folder of programs: its installation where it has one of its own, else just the folder."""
        if folder.name in PROGRAM_FOLDERS and self.add_installation(folder.parent):
            return
        self.add(folder)
        self._add_programs(folder, python_only=False)

    def add_own_python(self) -> None:
        if self.add_installation(Path(sys.base_prefix)):
            return
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for place in (own_python(), Path(sys.base_prefix) / "lib" / version):
            self.add(place)

    def add_workspace_venvs(self) -> None:
        # What a link in the repository names is the repository's word: only a whole Python
        # installation is bound for it, never a single file or an arbitrary folder.
        for venv in workspace_venvs(self._root):
            for step in _links(venv / "bin" / "python"):
                prefix = step.parent.parent
                if not _inside(prefix, self._root) and _is_python(prefix):
                    self.add_installation(prefix)

    def _add_programs(self, folder: Path, *, python_only: bool) -> None:
        """Follows the links among a folder's programs (pipx, uv tool, nvm, a venv's python)."""
        try:
            names = sorted(os.listdir(folder))[:MOST_PROGRAMS]
        except OSError:
            return
        for name in names:
            if python_only and not name.startswith("python"):
                continue
            for step in _links(folder / name)[1:]:
                if _inside(step, self._root) or not self._is_hidden(step) or self._covered(step):
                    continue
                if step.parent.name not in PROGRAM_FOLDERS or not self.add_installation(step.parent.parent):
                    self.add(step)

    def _covered(self, path: Path) -> bool:
        return any(_inside(path, found) for found in self._found)

    def _is_hidden(self, path: Path) -> bool:
        return any(_inside(path, hidden) for hidden in self._hidden)

    def _too_wide(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return _inside(self._root, real) or any(_inside(broad, real) for broad in self._broad)


def _links(path: Path) -> list[Path]:
    """`path` and every place its chain of links goes through, at most 16 of them."""
    steps = [path]
    while len(steps) < 16 and steps[-1].is_symlink():
        here = steps[-1]
        steps.append(Path(os.path.normpath(here.parent / os.readlink(here))))
    real = Path(os.path.realpath(path))
    return steps if real == steps[-1] or not real.exists() else [*steps, real]


def _is_installation(prefix: Path) -> bool:
    if _holds(prefix, INSTALLATION_MARKS) or _is_manager(prefix):
        return True
    if "node_modules" in prefix.parts:
        return (prefix / "package.json").is_file()
    # <manager>/versions/<version>, <manager>/installs/<tool>/<version>
    return any(p.parent.name in MANAGERS and _is_manager(p.parent.parent) for p in (prefix, prefix.parent))


def _is_manager(folder: Path) -> bool:
    return any(os.path.isdir(folder / kept) and _holds(folder, marks) for kept, marks in MANAGERS.items())


def _holds(folder: Path, patterns: Iterable[str]) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def _is_python(prefix: Path) -> bool:
    return any(prefix.glob("lib/python3*/os.py")) and any(prefix.glob("bin/python3*"))


def _owned_by_venv(folder: Path, root: Path) -> bool:
    return _inside(folder.parent, root) and (folder.parent / "pyvenv.cfg").is_file()


def _inside(path: Path, folder: Path) -> bool:
    return path == folder or path.is_relative_to(folder)


def path_outside(path: str, root: Path) -> str:
    """The entries of a PATH that no link leads through the workspace: for programs that may do more than a
    command may."""
    entries = (entry for entry in path.split(os.pathsep) if os.path.isabs(entry))
    return join_path(entry for entry in entries if not _leads_through(Path(entry), root))


def _leads_through(path: Path, root: Path) -> bool:
    """Whether a place in the workspace is passed on the way, link by link."""
    here, waiting, links = Path("/"), [*reversed(path.parts)], 0
    while waiting and links <= MOST_LINKS:
        here = Path(os.path.normpath(here / waiting.pop()))
        if _inside(here, root):
            return True
        if here.is_symlink():
            waiting += reversed(Path(os.readlink(here)).parts)
            here, links = here.parent, links + 1
    return links > MOST_LINKS


def join_path(entries: Iterable[str]) -> str:
    return os.pathsep.join(entries) or os.defpath
