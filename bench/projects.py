"""Real projects from PyPI whose sdists hold their own test suites, at pinned versions.

Pure Python, tested with pytest alone within seconds. Those marked `report` are for reporting only: nothing
is tuned on them, and the demonstration does not draw from them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs


@dataclass(frozen=True)
class Project:
    name: str
    version: str
    sha256: str
    """Of the sdist."""
    group: Literal["dev", "report"]
    sources: tuple[str, ...]
    """Globs of the files to break, relative to the project's folder."""
    arguments: tuple[str, ...] = ()
    """What `python -m pytest` needs to run the whole suite from the project's folder."""


PROJECTS = (
    Project(
        "inflection", "0.5.1", "1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417",
        "dev", ("inflection/*.py",), ("test_inflection.py",),
    ),
    Project(
        "parse", "1.22.4", "706d458feed5a81b02768d3156e8070baf6cee7d150a3a3c0cd43101a875c3b5",
        "dev", ("parse/*.py",), ("-o", "addopts=", "tests"),
    ),
    Project(
        "semver", "3.1.1", "149b26cabada6f63212f97e94505d21578cb1d280cf714827f328d5e70765fea",
        "dev", ("src/semver/*.py",), ("-o", "addopts=", "-o", "pythonpath=src", "tests"),
    ),
    Project(
        "toolz", "1.0.0", "2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02",
        "dev", ("toolz/[a-z]*.py",), ("toolz",),
    ),
    Project(
        "cachetools", "8.0.1", "deb1d376d4d28c2f33f3e3058043b005e0af75c35c094bd54053e27d2906ad95",
        "report", ("src/cachetools/*.py",), ("-o", "pythonpath=src", "tests"),
    ),
    Project(
        "tabulate", "0.8.10", "6c57f3f3dd7ac2782770155f3adb2db0b1a269637e42f27599925e64b114f519",
        "report", ("tabulate.py",), ("test",),
    ),
    Project(
        "voluptuous", "0.16.0", "006535e22fed944aec17bef6e8725472476194743c87bd233e912eb463f8ff05",
        "report", ("voluptuous/*.py",), ("voluptuous",),
    ),
    Project(
        "xmltodict", "1.0.4", "6d94c9f834dd9e44514162799d344d815a3a4faec913717a9ecbfa5be1bb8e61",
        "report", ("xmltodict.py",), ("tests",),
    ),
)  # fmt: skip


class FetchFailed(Exception):
    """One sentence: what could not be fetched, and what to do."""


def sdist(project: Project) -> Path:
    """The project's sdist from the user's cache, downloaded through pip where it is not there yet."""
    cache = platformdirs.user_cache_path("ostro", appauthor=False) / "bench" / "sdists"
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{project.name}-{project.version}.tar.gz"
    if kept.is_file() and _sha256(kept) == project.sha256:
        return kept
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{project.name}=={project.version} --hash=sha256:{project.sha256}\n")
        # pip checks the hash before it lets the sdist describe itself.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-binary", project.name, "--require-hashes", "-r", str(wanted), "-d", scratch]  # fmt: skip
        done = subprocess.run(pip, capture_output=True, text=True)
        found = [*Path(scratch).glob("*.tar.gz")]
        if done.returncode or not found or _sha256(found[0]) != project.sha256:
            why = [line for line in done.stderr.splitlines() if "ERROR" in line][:1] or ["pip gave no reason"]
            what = f"{project.name} {project.version}"
            raise FetchFailed(f"pip could not fetch {what} ({why[0]}): check the network, and try again.")
        os.replace(found[0], kept)
    return kept


def unpack(project: Project, destination: Path) -> None:
    """Write the project's files into `destination`, which must not exist yet."""
    with tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        with tarfile.open(sdist(project)) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            archive.extractall(scratch)
        (top,) = Path(scratch).iterdir()
        shutil.move(top, destination)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
