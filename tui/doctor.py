"""`ostro doctor`: what this machine has of what Ostro needs, found by trying it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.config import load, settings_file
from agent.ending import EnvironmentProblem
from engine.catalogue import CATALOGUE, DEFAULT_MODEL, installed, resolve
from engine.errors import EngineError
from engine.locations import budgets_met
from sandbox import Sandbox, SandboxError
from sandbox.repository import find_repository
from tui.printer import one_line
from tui.standard_output import say


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    detail: str
    needed: bool = True
    """Whether a run ends with exit code 3 without it."""
    broken: bool = False
    """It is there, and cannot be used."""
    enforced: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = ()
    """Of the sandbox, in plain words."""


def doctor(*, as_json: bool = False) -> int:
    """Prints what was found; 3 where something that is needed is missing or broken."""
    # A sandbox over another folder takes all of PATH for the user's own.
    os.environ["PATH"] = _path_outside_the_repository()
    findings = [_python(), _git(), _settings(), asyncio.run(_sandbox()), _model(), *_engines()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            say(f"{_mark(finding):<7}  {finding.name:<16}{one_line(finding.detail, 2000)}")
            for words in finding.enforced:
                say(f"           + {words}")
            for words in finding.not_enforced:
                say(f"           - not enforced: {words}")
    return 0 if all(finding.ok or not finding.needed for finding in findings) else 3


def _mark(finding: Finding) -> str:
    if finding.ok:
        return "ok"
    if finding.broken:
        return "broken"
    return "missing" if finding.needed else "-"


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})")


def _git() -> Finding:
    program = shutil.which("git")
    if not program:
        return Finding("git", False, "not on PATH; install git")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return Finding("git", said.returncode == 0, f"{said.stdout.strip()} ({program})")


def _settings() -> Finding:
    try:
        root = find_repository(Path(".")).root
    except (SandboxError, OSError):
        root = None
    try:
        load(root)
        there = settings_file("config.toml", root)
    except EnvironmentProblem as problem:
        return Finding("settings", False, problem.reason, broken=True)
    return Finding("settings", True, f"{there}{'' if there.exists() else ' (none, so the defaults)'}")


def _path_outside_the_repository() -> str:
    """For what runs outside the sandbox, which must be no program that the repository here brings."""
    entries = [entry for entry in os.get_exec_path() if os.path.isabs(entry)]
    try:
        root = find_repository(Path(".")).root
    except (SandboxError, OSError):  # no repository here, or the folder itself is gone
        return os.pathsep.join(entries)
    return os.pathsep.join(e for e in entries if not Path(os.path.realpath(e)).is_relative_to(root))


async def _sandbox() -> Finding:
    with tempfile.TemporaryDirectory(prefix="ostro-doctor-") as folder:
        git = Path(folder) / ".git"
        git.mkdir()
        (git / "HEAD").write_text("ref: refs/heads/main\n")
        try:
            async with await Sandbox.open(Path(folder)) as sandbox:
                described = sandbox.describe()
        except SandboxError as problem:
            return Finding("sandbox", False, str(problem))
    program = f" ({described['program']})" if "program" in described else ""
    return Finding(
        "sandbox",
        True,
        f"tier {described['tier']}: {described['mechanism']}{program}, holds",
        enforced=tuple(described["enforced"]),
        not_enforced=tuple(described["not_enforced"]),
    )


def _model() -> Finding:
    here = [name for name in CATALOGUE if installed(name)]
    if DEFAULT_MODEL in here:
        return Finding("models", True, ", ".join(here))
    others = f"; here: {', '.join(here)}" if here else ""
    return Finding(
        "models", False, f"{DEFAULT_MODEL} is not here; `ostro models pull {DEFAULT_MODEL}`{others}"
    )


def _engines() -> list[Finding]:
    """For each model that is here: whether an engine process has it loaded, and within which budget."""
    findings = []
    for name in CATALOGUE:
        if not installed(name):
            continue
        try:
            met = budgets_met(resolve(name))
        except EngineError as problem:
            findings.append(Finding("engine process", False, str(problem), broken=True))
            continue
        running = [budget for budget, path in met.items() if _answers(path)]
        states = [_loaded_within(budget) for budget in running] or [
            "not running (it starts when it is needed)"
        ]
        findings += [
            Finding("engine process", bool(running), f"{name}: {state}", needed=False) for state in states
        ]
    return findings


def _loaded_within(budget: int | None) -> str:
    return "has it loaded" if budget is None else f"has it loaded, within {budget / 1e9:,.1f} GB"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True
