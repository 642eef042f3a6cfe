"""What checkpoints cost: seconds of a step in a large repository, and how much ten one-line steps add.

    python -m bench.checkpoints [--files N]

Two repositories are made: one of N small files, and one with a text file of 5 MB and a binary one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import platformdirs

from sandbox import Sandbox

STEPS = 10


def many_files(root: Path, count: int) -> None:
    """Python files of some 350 bytes, fifty in a folder."""
    for n in range(count):
        folder = root / f"part{n // 5000}" / f"module{n // 50 % 100}"
        if n % 50 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{n}.py").write_text(f"def f{n}(x):\n    return x + {n}\n" * 10)


def long_files(root: Path) -> None:
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    lines = (" ".join(draw.choices(words, k=9)) for _ in range(100_000))
    (root / "text.txt").write_text("\n".join(lines)[: 5 << 20])
    (root / "data.bin").write_bytes(draw.randbytes(5 << 20))


def edit_small(root: Path, step: int) -> None:
    with (root / f"part0/module{step}/file{50 * step}.py").open("a") as file:
        file.write(f"# step {step}\n")


def edit_long(root: Path, step: int) -> None:
    """One line more in the middle of the text."""
    lines = (root / "text.txt").read_text().split("\n")
    lines.insert(len(lines) * (step + 1) // (STEPS + 2), f"step {step}")
    (root / "text.txt").write_text("\n".join(lines))


async def measure(
    make: Callable[[Path], None], edit: Callable[[Path, int], None]
) -> tuple[float, list[float], int, int]:
    """Seconds of the first checkpoint and of each step; bytes of the store at first, and added since."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = home
        root = Path(folder)
        make(root)
        await asyncio.to_thread(subprocess.run, ["git", "init", "--quiet", folder], check=True)
        async with await Sandbox.open(root) as box:
            first = await _seconds(box)
            store = Path(platformdirs.user_state_dir("ostro", appauthor=False)) / "snapshots"
            size = _objects(store)
            steps = []
            for step in range(STEPS):
                edit(root, step)
                steps.append(await _seconds(box))
            return first, steps, size, _objects(store) - size


async def _seconds(box: Sandbox) -> float:
    began = time.perf_counter()
    await box.workspace.snapshot()
    return time.perf_counter() - began


def _objects(store: Path) -> int:
    """Bytes on the disk, the index of the last walk left out: there is one of it, whatever the steps."""
    files = (path for path in store.rglob("*") if path.is_file() and "index" not in path.parts[-2:-1])
    return sum(path.stat().st_blocks * 512 for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.checkpoints", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    count = parser.parse_args().files
    print(f"{'':<24}{'first':>9}{'a step':>9}{'slowest':>9}{'store':>10}{'ten steps add':>15}")
    for name, make, edit in (
        (f"{count:,} files", lambda root: many_files(root, count), edit_small),
        ("a text of 5 MB", long_files, edit_long),
    ):
        first, steps, size, added = asyncio.run(measure(make, edit))
        print(
            f"{name:<24}{first:>7.2f} s{median(steps):>7.2f} s{max(steps):>7.2f} s"
            f"{size / 1e6:>7.1f} MB{added / 1e3:>12.0f} kB"
        )


if __name__ == "__main__":
    main()
