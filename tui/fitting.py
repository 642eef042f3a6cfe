"""`ostro models fit`: measures this machine once, and says of each model whether and how it runs here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import platformdirs

from engine.anatomy import anatomy
from engine.catalogue import models_folder
from engine.errors import EngineError
from engine.fit import Candidate, Fit, Machine, best_first, fit, machine_of
from engine.known_configs import QWEN2, SMALL_4
from engine.machine_memory import all_memory, available_memory, budget_of
from engine.memory_plan import Needs
from engine.model import CACHE_BUDGET
from engine.wire import build
from tui.standard_output import complain, say

MEASURED_WITHIN = 300.0
"""Seconds."""
CHANGED = 0.02
"""A machine whose memory differs by this share from the measured one is another."""

Measured = tuple[Machine, dict[str, Needs]]
"""The machine, and what the known models take."""


def fit_models(*, again: bool = False, memory: int | None = None, as_json: bool = False) -> int:
    """Prints a line for each model and precision, the quickest first. Raises EngineError."""
    if memory is not None:
        budget_of(memory)
    machine, needs = _measured(again=again)
    for each in best_first([fit(candidate, machine, memory) for candidate in _candidates(needs, memory)]):
        if as_json:
            print(json.dumps(asdict(each)))
        else:
            _say(each)
    if not as_json:
        say(
            f"\nMeasured: {machine.available / 1e9:.1f} of {machine.memory / 1e9:.1f} GB free, memory "
            f"{machine.bandwidth / 1e9:.1f} GB/s"
            + (f", disk {machine.disk / 1e9:.1f} GB/s" if machine.disk else "")
            + ". Speeds are estimates. --again measures anew."
        )
    return 0


def _say(each: Fit) -> None:
    form = each.form.removeprefix("int") + " bits"
    if each.verdict == "no":
        say(f"{each.name:<20}{form:<8} no: {each.why}")
        return
    share = "all in memory" if each.resident == 1.0 else f"{each.resident:.0%} of its experts in memory"
    say(f"{each.name:<20}{form:<8} {each.bytes / 1e9:,.1f} GB, {share}, {each.context:,} tokens of context")
    say(f"{'':<28} reads {each.prefill:,.1f} and writes {each.decode:,.1f} tokens a second: {each.command}")


def _candidates(needs: Mapping[str, Needs], memory: int | None) -> Iterator[Candidate]:
    told = "" if memory is None else f" --memory {memory}B"
    for name, config in QWEN2.items():
        command = f"ostro --model {name}{told}"
        cache = CACHE_BUDGET if memory is None else None
        yield Candidate(name, anatomy(config), "int8", needs[f"{name} int8"], command, cache)
    small_4 = anatomy(SMALL_4)
    for form, bits in (("int4", 4), ("int8", 8)):
        command = f"ostro models convert FOLDER --bits {bits}, then ostro --model FOLDER-{bits}bit{told}"
        yield Candidate("mistral-small-4", small_4, form, needs[f"mistral-small-4 {form}"], command)


def _measured(*, again: bool) -> Measured:
    kept = Path(platformdirs.user_cache_dir("ostro", appauthor=False)) / "machine.json"
    if not again and (known := _known(kept)) is not None:
        return known
    complain("Measuring this machine; it takes some seconds.")
    command = [sys.executable, "-I", "-m", "engine.measure", str(models_folder())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MEASURED_WITHIN, check=True)
        found = _read(json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError, KeyError, TypeError) as problem:
        raise EngineError(f"This machine could not be measured ({problem}); try again.") from None
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout)
    except OSError as problem:
        complain(f"The measurement could not be kept ({problem}).")
    return found


def _known(kept: Path) -> Measured | None:
    """What was measured, with the memory that is free now; None where it is of another machine or engine, or
    none."""
    try:
        told = json.loads(kept.read_text())
        now = all_memory()
        if abs(told["memory"] - now) > CHANGED * now or told["build"] != build():
            return None
        return _read({**told, "available": available_memory()})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(told: Mapping[str, Any]) -> Measured:
    """From what `engine.measure` printed. Raises KeyError, TypeError or ValueError."""
    return machine_of(told), {name: Needs(**needs) for name, needs in told["needs"].items()}
