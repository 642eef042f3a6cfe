"""What the sandbox costs: `true` run bare and in each tier, and a fork of 100 MB by overlay and by copy.

    python -m bench.sandbox [--rounds N]

The ways take turns, round by round; the table has the median of each in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from sandbox import Limits, Sandbox
from sandbox.alone import Alone
from sandbox.launcher import Launcher
from sandbox.workspace import Workspace

FORKED_BYTES = 100 << 20
FORKED_FILES = 1000


async def measure(repo: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds by way."""
    async with await Sandbox.open(repo) as box:
        policy, full = box.workspace._policy, box._room.launcher.bubblewrap
        assert full is not None and full.seccomp is not None
        bare = replace(policy, mounts=(), pins=())
        ways = {
            "bare": (Launcher(None), bare),
            "tier A: bubblewrap + Landlock + seccomp": (Launcher(full), policy),
            "tier B: bubblewrap + seccomp": (Launcher(replace(full, landlock=False)), policy),
            "tier B: bubblewrap": (Launcher(replace(full, landlock=False, seccomp=None)), policy),
        }

        async def one(launcher: Launcher, policy) -> None:
            await launcher.run(policy, ["true"], cwd=policy.root, limits=Limits())

        with tempfile.TemporaryDirectory() as private:
            alone = Alone(full.seccomp, Path(private))
            alone.furnish()
            ways["tier C: Landlock + seccomp"] = (Launcher(alone), bare)
            table = await _medians({name: lambda way=way: one(*way) for name, way in ways.items()}, rounds)

            async def first() -> None:
                launcher = Launcher(full)
                await one(launcher, policy)
                await launcher.close()

            table |= await _medians({"tier A, with the start of its sandbox": first}, max(rounds // 4, 3))
            for launcher, _ in ways.values():
                await launcher.close()

        async def fork(make: Callable[[], Awaitable[Workspace | None]]) -> None:
            made = await make()
            assert made is not None, "no overlay here"
            await made.run(["true"])
            await made.discard()

        forks = {"overlay": box.workspace._overlaid, "copy": box.workspace._copied}
        named = {f"a fork of 100 MB by {how}": lambda make=make: fork(make) for how, make in forks.items()}
        return table | await _medians(named, max(rounds // 8, 3))


async def _medians(ways: Mapping[str, Callable[[], Awaitable[None]]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        await way()
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            taken[name].append(1000 * (time.perf_counter() - began))
    return {name: median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "--quiet", folder], check=True)
        for n in range(FORKED_FILES):
            Path(folder, f"{n}.bin").write_bytes(os.urandom(FORKED_BYTES // FORKED_FILES))
        for name, milliseconds in asyncio.run(measure(Path(folder), rounds)).items():
            print(f"{name:<44}{milliseconds:7.1f} ms")


if __name__ == "__main__":
    main()
