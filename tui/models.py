"""`ostro models`: the catalogue, fetching from it, and what a model's files say of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from engine.catalogue import CATALOGUE, DEFAULT_MODEL, describe, installed, may_be_of_catalogue, resolve
from engine.errors import EngineError, UnsupportedModel
from engine.pull import pull
from tui.printer import one_line
from tui.standard_output import complain, say

MEGABYTE = 1_000_000
UNSUPPORTED = 4
"""Exit code of `engine.describing` for a model that this engine does not host."""


def list_models(*, as_json: bool = False) -> int:
    """Prints the catalogue and which of it is here."""
    for model in CATALOGUE.values():
        here = installed(model.name)
        if as_json:
            row = {
                "name": model.name,
                "title": model.title,
                "licence": model.licence,
                "bytes": model.bytes,
                "installed": here,
                "default": model.name == DEFAULT_MODEL,
            }
            print(json.dumps(row))
        else:
            state = "here" if here else "not pulled"
            default = "  (default)" if model.name == DEFAULT_MODEL else ""
            say(f"{model.name:<22}{model.bytes / MEGABYTE:>7,.0f} MB  {state:<12}{model.title}{default}")
    return 0


def pull_model(name: str) -> int:
    """Fetches a catalogue model where it is not here yet. Raises EngineError."""
    if installed(name):
        say(f"{name} is here: {resolve(name)}")
        return 0
    progress = ModelProgress(name)
    try:
        path = pull(name, lambda told: progress.show(told.stage, told.done, told.total, told.source))
    finally:
        progress.close()
    say(f"{name} is here: {path}")
    return 0


def show_model(ref: str, *, memory: int | None = None, as_json: bool = False) -> int:
    """Prints what a model's files hold, and what it could do in so much memory. Raises EngineError."""
    facts = facts_of(ref, memory)
    if as_json:
        print(json.dumps(facts))
        return 0
    parts = facts.pop("parts", {})
    for name, value in facts.items():
        if value is not None:
            say(f"{name.replace('_', ' '):<20}{_readable(value)}")
    for name, part in parts.items():
        told = f"{part['parameters']:>18,} parameters {part['bytes'] / MEGABYTE:>12,.1f} MB"
        say(f"  {one_line(name):<18}{told}, {part['active']:,} active")
    return 0


def facts_of(ref: str, memory: int | None = None) -> dict[str, Any]:
    """By headers alone; a file that may be one of the catalogue is read whole, for its hash."""
    path = resolve(ref)
    if path.is_dir():
        return {"path": str(path), **_figures(path, memory)}
    told = describe(path, hashed=may_be_of_catalogue(path))
    try:
        figures = _figures(path, memory)
    except UnsupportedModel as why:
        return {**told, "not_hosted": str(why)}
    return told | {name: figure for name, figure in figures.items() if name not in told}


def _figures(path: Path, memory: int | None) -> dict[str, Any]:
    """From a process of its own, because what reads the files loads torch."""
    command = [sys.executable, "-I", "-m", "engine.describing", str(path)]
    if memory is not None:
        command.append(str(memory))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    lines = done.stderr.strip().splitlines()
    why = lines[-1] if lines else f"Reading {path} was ended; memory may be short."
    raise UnsupportedModel(why) if done.returncode == UNSUPPORTED else EngineError(why)


def _readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{one_line(str(key))} {_readable(count)}" for key, count in value.items())
    return f"{value:,}" if isinstance(value, int) else one_line(str(value), 1000)


class ModelProgress:
    """On a terminal one line that changes; elsewhere a line for every tenth."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._said = ""
        self._at = 0.0

    def show(self, stage: str, done: int, total: int, source: str = "") -> None:
        """`done` and `total` are bytes."""
        share = done / total if total else 0.0
        if self._terminal:
            if time.monotonic() - self._at < 0.1:
                return
            self._at = time.monotonic()
            amount = f"{done / MEGABYTE:,.0f} of {total / MEGABYTE:,.0f} MB"
            whence = f" from {source}" if source else ""
            self._said = f"{self._name}: {stage}{whence}, {amount} ({share:.0%})"
            print(f"\r\x1b[K{self._said}", end="", file=sys.stderr, flush=True)
            return
        line = f"{self._name}: {stage} {int(share * 10) * 10} %"
        if line != self._said:
            self._said = line
            complain(line)

    def close(self) -> None:
        if self._terminal and self._said:
            print(file=sys.stderr)
