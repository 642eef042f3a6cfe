"""What this machine can do: memory, its bandwidth, the engine's own products, the disk. Seconds, once.

    python -I -m engine.measure FOLDER

prints one JSON object, FOLDER being where the models lie. With it goes what the known models take, which
transformers' own classes say. A process of its own, because it loads torch.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from engine.experts.kernels import Kernel, silu_and_multiply
from engine.experts.record import Geometry
from engine.host import usable_cores
from engine.known_needs import known_needs
from engine.machine_memory import all_memory, available_memory
from engine.quantised import QuantisedLinear, quantise_rows, use_fbgemm
from engine.wire import build

ROUNDS = 3
STREAMED_BYTES = 256 << 20
READ_BYTES, READ_AT_ONCE = 256 << 20, 8 << 20
ROWS, COLUMNS, TOKENS = 2048, 4096, 256
"""A layer's product while a prompt is read."""
HIDDEN, INTERMEDIATE, SLOTS, TOKENS_OF_AN_EXPERT = 4096, 2048, 8, 16


def measure(folder: Path) -> dict[str, object]:
    """All of it. `folder` need not be there yet; then a folder above it is measured."""
    torch.set_num_threads(usable_cores())
    available = available_memory()
    return {
        "cores": usable_cores(),
        "memory": all_memory(),
        "available": available,
        "bandwidth": _bandwidth(available),
        "product": _product(),
        "experts": {form: _expert(form) for form in ("int4", "int8")},
        "disk": _disk(folder),
        "accelerators": [asdict(found) for found in accelerators()],
        "build": build(),
        "needs": {name: asdict(needs) for name, needs in known_needs().items()},
    }


@dataclass(frozen=True)
class Accelerator:
    name: str
    memory: int
    """Bytes."""


def accelerators() -> list[Accelerator]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return [Accelerator(device.name, device.total_memory) for device in found]


def _bandwidth(available: int) -> float:
    """Bytes a second that all cores together read from memory."""
    streamed = torch.ones(min(STREAMED_BYTES, available // 8) // 4)
    return streamed.nbytes / _best(streamed.sum)


def _product() -> float:
    """Operations a second (two for each weight and token) of this engine's int8 layers on a prompt."""
    use_fbgemm()
    layer = QuantisedLinear(*quantise_rows(torch.randn(ROWS, COLUMNS)))
    hidden = torch.randn(TOKENS, COLUMNS)
    return 2 * ROWS * COLUMNS * TOKENS / _best(lambda: layer(hidden))


def _expert(form: str) -> dict[str, float]:
    """One expert of Small 4's size: `decode`, bytes of weights a second for one token; `prefill`, operations
    a second for as many tokens as one of 128 experts gets of a prompt's chunk."""
    geometry = Geometry(form, HIDDEN, INTERMEDIATE)
    kernel = Kernel(geometry, silu_and_multiply, torch.device("cpu"))
    # As many as the processor's caches cannot hold: a token finds its experts in memory.
    slots = torch.zeros(SLOTS, geometry.bytes, dtype=torch.uint8)
    operands = [kernel.operands(slot) for slot in slots]
    weights = 3 * HIDDEN * INTERMEDIATE
    one, several = (torch.zeros(tokens, HIDDEN, dtype=kernel.takes) for tokens in (1, TOKENS_OF_AN_EXPERT))
    decode = _best(lambda: [kernel.run(one, each) for each in operands]) / SLOTS
    prefill = _best(lambda: kernel.run(several, operands[0]))
    return {"decode": geometry.bytes / decode, "prefill": 2 * weights * TOKENS_OF_AN_EXPERT / prefill}


def _disk(folder: Path) -> float | None:
    """Bytes a second of large reads past the page cache; None where no file can be laid there."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            block = os.urandom(READ_AT_ONCE)
            for _ in range(READ_BYTES // READ_AT_ONCE):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            return READ_BYTES / _best(lambda: _read(file.fileno()))
    except OSError:
        return None


def _read(descriptor: int) -> None:
    """The whole file into one aligned buffer, directly where the file system lets."""
    direct = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | getattr(os, "O_DIRECT", 0) | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, READ_AT_ONCE) as buffer:
            for at in range(0, READ_BYTES, READ_AT_ONCE):
                os.preadv(direct, [buffer], at)
    finally:
        os.close(direct)


def _best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of a few rounds, after one that counts for nothing."""
    took = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took[1:])


if __name__ == "__main__":
    json.dump(measure(Path(sys.argv[1])), sys.stdout)
