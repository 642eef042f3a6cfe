"""What the sandbox costs: `true` run bare, through bubblewrap alone, with the filter, and with all layers.

    python -m bench.sandbox [--rounds N]

The ways take turns, round by round; the table has the median of each in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from sandbox import Limits, Sandbox
from sandbox.launcher import Launcher


async def measure(repo: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds by way."""
    async with await Sandbox.open(repo) as box:
        policy, full = box.workspace._policy, box._room.launcher.bubblewrap
        assert full is not None
        ways = {
            "bare": Launcher(None),
            "bubblewrap": Launcher(replace(full, seccomp=None, landlock=False)),
            "bubblewrap + seccomp": Launcher(replace(full, landlock=False)),
            box.describe()["mechanism"]: Launcher(full),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, launcher in ways.items():
                began = time.perf_counter()
                await launcher.run(policy, ["true"], cwd=policy.root, limits=Limits())
                taken[name].append(1000 * (time.perf_counter() - began))
    return {name: median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "--quiet", folder], check=True)
        for name, milliseconds in asyncio.run(measure(Path(folder), rounds)).items():
            print(f"{name:<40}{milliseconds:6.1f} ms")


if __name__ == "__main__":
    main()
