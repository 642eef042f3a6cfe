"""What gets broken: real projects, and the benchmark's own modules, each as a repository with its suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bench.projects import PROJECTS, Project, unpack

SetName = Literal["dev", "report", "modules", "algorithms"]
SETS: tuple[SetName, ...] = get_args(SetName)
PYTEST = ("python", "-m", "pytest", "-q", "--disable-plugin-autoload")
"""Ostro's own environment has plugins of its own, which no subject needs."""
SETTINGS = """\
[project]
name = "{name}"
version = "1.0"

[tool.pytest.ini_options]
pythonpath = ["."]
"""
IGNORED = "__pycache__/\n*.py[cod]\n.pytest_cache/\n"


@dataclass(frozen=True)
class Subject:
    name: str
    group: SetName
    command: tuple[str, ...]
    """Runs the whole suite, in the subject's folder."""
    project: Project | None = None
    folder: Path | None = None
    """Of a module and its tests, where it is no project."""

    def write(self, destination: Path) -> None:
        """Make the folder `destination` with the subject's files, unbroken; raises FetchFailed."""
        if self.project:
            unpack(self.project, destination)
            return
        assert self.folder is not None
        destination.mkdir()
        for file in (f"{self.name}.py", f"test_{self.name}.py"):
            shutil.copyfile(self.folder / file, destination / file)
        (destination / "pyproject.toml").write_text(SETTINGS.format(name=self.name))
        (destination / ".gitignore").write_text(IGNORED)

    def sources(self, root: Path) -> list[str]:
        """The files of a written subject that may be broken, relative to `root`, sorted."""
        globs = self.project.sources if self.project else (f"{self.name}.py",)
        return sorted(
            {str(f.relative_to(root)) for glob in globs for f in root.glob(glob) if f.stat().st_size}
        )


def subjects(group: SetName) -> list[Subject]:
    """All subjects of a set, by name."""
    if group in ("dev", "report"):
        members = [p for p in PROJECTS if p.group == group]
        return [Subject(p.name, group, (*PYTEST, *p.arguments), project=p) for p in members]
    folder = Path(__file__).parent / group
    names = sorted(f.stem for f in folder.glob("*.py") if not f.stem.startswith("test_"))
    return [Subject(name, group, PYTEST, folder=folder) for name in names]


def make_repository(folder: Path) -> None:
    """Make the folder a git repository with one commit of all its files, the same on every machine."""
    identity = {
        "GIT_AUTHOR_NAME": "Benchmark", "GIT_AUTHOR_EMAIL": "benchmark@example.org",
        "GIT_COMMITTER_NAME": "Benchmark", "GIT_COMMITTER_EMAIL": "benchmark@example.org",
        "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "--all", "--force"],
        ["commit", "-q", "-m", "Import the project"],
    ):
        subprocess.run(["git", *command], cwd=folder, env={**os.environ, **identity}, check=True)
    exclude = folder / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(IGNORED)
