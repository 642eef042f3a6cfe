"""Mixture-of-experts layers of Small 4's true size: Ostro, transformers and llama.cpp against the machine.

    python -m bench.moe [--rounds N] [--layers N] [--folder DIR] [--llama-python PATH]

Random weights; one random routing trace, the same for Ostro and transformers (llama.cpp runs whole models, so
that its own router chooses). Each contender is a process of its own that holds its weights alone; in a round
all take their turn, and what the machine can do is measured in the same round. llama.cpp runs in the
environment that `make parity-llamacpp` builds, unless another Python is named. Takes 20 GB of disk, which it
gives back, and 9 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.commit import commit
from bench.moe_table import Run, report

ROOT = Path(__file__).resolve().parent.parent
LLAMA_PYTHON = ROOT / ".parity" / "venv" / "bin" / "python"
LLAMA_SIDE = Path(__file__).with_name("moe_llama_cpp.py")
OSTRO = ("int4", "int8")
TRANSFORMERS = ("bfloat16", "float32")
LLAMA_CPP = ("Q4_K", "Q8_0")
VOCABULARY = 4096
"""Tokens of the models that have to be whole: few, so that embedding and head count for little."""
TOKENS, PROMPTS = 48, (512, 2048)
"""Decoded one by one, and lengths of prompts."""
SECONDS = 900


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.moe", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=2, help="of the models that are run whole")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--prompts", type=int, nargs="+", default=list(PROMPTS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--llama-python", type=Path, default=LLAMA_PYTHON)
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help='"ostro int4", say')
    parser.add_argument("--tiny", action="store_true", help="matrices of 64 x 64: to test this")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ostro-moe-", dir=options.folder))
    try:
        print(measure(folder, options))
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, options: argparse.Namespace) -> str:
    """The report. Models are written once and read in every round."""
    llama = options.llama_python.is_file()
    contenders = ["machine", *(f"ostro {form}" for form in OSTRO)]
    contenders += [f"transformers {kind}" for kind in TRANSFORMERS]
    contenders += [f"llama.cpp {kind}" for kind in LLAMA_CPP] if llama else []
    if options.only:
        contenders = [name for name in contenders if name in (*options.only, "machine")]
    job = _prepare(folder, options, contenders)
    runs: list[Run] = []
    before = os.getloadavg()[0]
    for round_ in range(options.rounds):
        # Back and forth, so that none is always the one after the same other.
        for name in contenders if round_ % 2 == 0 else reversed(contenders):
            turn = _run(name, job, options)
            runs += turn
            said = ", ".join(f"{run.work} {run.how} {run.seconds * 1e3:.2f} ms" for run in turn)
            print(f"round {round_ + 1}, {name}: {said}", file=sys.stderr, flush=True)
    told = {
        "threads": options.threads, "rounds": options.rounds, "layers": options.layers, "load": before,
        "commit": commit(), "llama": llama, "config": job["config"], "llama_python": options.llama_python,
    }  # fmt: skip
    return report(runs, told)


def _prepare(folder: Path, options: argparse.Namespace, contenders: list[str]) -> dict[str, Any]:
    """Writes what the contenders read; returns what they are told."""
    from bench.moe_gguf import write_gguf
    from bench.random_model import TINY, small_4, write_packed

    config = small_4(options.layers, VOCABULARY, **(TINY if options.tiny else {}))
    random = np.random.default_rng(1)
    for length in (options.tokens, *options.prompts):
        scores = random.random((length, config["n_routed_experts"]))
        weight = random.dirichlet(np.ones(config["num_experts_per_tok"]), length)
        np.savez(folder / f"trace-{length}.npz", scores=scores, weight=weight)
    for name in contenders:
        peer, _, kind = name.partition(" ")
        print(f"writing what {name} reads", file=sys.stderr, flush=True)
        if peer == "ostro":
            write_packed(folder / kind, config, kind)
        elif peer == "llama.cpp":
            write_gguf(folder / f"{kind}.gguf", config, kind)
    return {
        "folder": str(folder), "config": config, "threads": options.threads, "tokens": options.tokens,
        "prompts": options.prompts, "true_size": not options.tiny,
    }  # fmt: skip


def _run(name: str, job: dict[str, Any], options: argparse.Namespace) -> list[Run]:
    """One contender's turn in a process of its own."""
    peer, _, kind = name.partition(" ")
    command = [sys.executable, "-m", "bench.moe_contenders"]
    if peer == "llama.cpp":
        command = [str(options.llama_python), "-I", str(LLAMA_SIDE)]
    try:
        done = subprocess.run(
            command, input=json.dumps(job | {"contender": peer, "kind": kind}), stdout=subprocess.PIPE,
            text=True, timeout=SECONDS, cwd=ROOT, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        # The others' figures are worth having: they took minutes.
        print(f"{name} did not end its turn: {error}", file=sys.stderr, flush=True)
        return []
    return [Run(name=name, **line) for line in map(json.loads, done.stdout.splitlines())]


if __name__ == "__main__":
    main()
