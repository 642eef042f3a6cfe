"""Scripted sessions that each meet a calamity: killed, interrupted, with the disk full, without their engine.

    python -m bench.chaos [--runs N] [--seed N]

A run is one seed of `tests/agent/chaos.py`, which says what has to hold; in one kind it is `ostro undo` that
is killed. Runs that held are kept in bench/results and not done again for the same code; `--seed` does one
alone and shows its failure whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.agent.chaos import Survived, survive
from tests.agent.chaos_calamities import CALAMITIES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "chaos.json"
RUNS = 200


def one(seed: int) -> Survived:
    """Raises what `survive` does; the folder of a run that failed stays."""
    folder = Path(tempfile.mkdtemp(prefix="ostro-chaos-", dir="/tmp"))
    survived = survive(seed, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return survived


def fingerprint() -> str:
    """Of the code that a run exercises."""
    digest = hashlib.sha256()
    for room in ("agent", "tools", "sandbox", "engine", "tui"):
        for file in sorted((ROOT / room).rglob("*.py")):
            digest.update(file.read_bytes())
    for file in (ROOT / "tests" / "chaos.py", *sorted((ROOT / "tests" / "agent").glob("chaos*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def table(done: dict[str, Survived]) -> str:
    """By calamity: how often, how runs ended, and how going on ended."""
    lines = ["| Calamity | runs | too late | ended | resumed |", "|---|---|---|---|---|"]
    for name in CALAMITIES:
        runs = [run for run in done.values() if run.calamity == name]
        late = sum(not run.struck for run in runs)
        ended, resumed = (
            ", ".join(f"{what or 'nothing to resume'} {count}" for what, count in sorted(counted.items()))
            for counted in (Counter(run.end for run in runs), Counter(run.resumed for run in runs))
        )
        lines.append(f"| {name} | {len(runs)} | {late} | {ended} | {resumed} |")
    return "\n".join(lines)


def _known(tree: str) -> dict[str, Survived]:
    try:
        kept = json.loads(RESULTS.read_text())
    except (OSError, ValueError):
        return {}
    return {seed: Survived(**run) for seed, run in kept["runs"].items()} if kept["tree"] == tree else {}


def _keep(tree: str, done: dict[str, Survived]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    new = RESULTS.with_suffix(".new")
    new.write_text(json.dumps({"tree": tree, "runs": {seed: asdict(run) for seed, run in done.items()}}))
    new.replace(RESULTS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if options.seed is not None:
        print(one(options.seed))
        return 0
    tree, failed = fingerprint(), []
    done = {seed: run for seed, run in _known(tree).items() if int(seed) < options.runs}
    try:
        for seed in range(options.runs):
            if str(seed) in done:
                continue
            try:
                done[str(seed)] = one(seed)
            except Exception as problem:  # the other seeds are to be seen as well
                failed.append(seed)
                print(f"{seed}: {traceback.format_exception_only(problem)[-1].strip()}", file=sys.stderr)
                print(f"    python -m bench.chaos --seed {seed}", file=sys.stderr)
                continue
            _keep(tree, done)
            print(f"{seed + 1:4}/{options.runs}  {done[str(seed)]}", flush=True)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    print(table(done))
    print(f"{len(done)} of {options.runs} runs held; failed: {', '.join(map(str, failed)) or 'none'}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
