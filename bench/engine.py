"""Speed of the engine against llama.cpp: same file, same threads, one run.

    python -m bench.engine [--model REF] [--threads N] [--rounds N]

The two take turns, round by round, each in a process of its own that does nothing else while the
other works, so that what disturbs the machine disturbs both. Prints medians and the ratio, and the
commit. Needs llama-cpp-python (`pip install llama-cpp-python` compiles it: ten minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from bench.commit import commit

PREFILL, DECODE, BRANCHES, BRANCH_TOKENS = 1024, 64, 8, 16
MEASURES = {
    "prefill of 1,024 tokens": "tokens/s",
    "decode of 64 tokens after them": "tokens/s",
    "8 branches of 16 tokens from them": "tokens/s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=("ostro", "llama.cpp"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options.worker, options.model, options.threads)
        return
    print(report(options.model, options.threads, options.rounds))


def report(model: str, threads: int, rounds: int) -> str:
    """A Markdown table of medians; the two engines alternate."""
    engines = {name: _Worker(name, model, threads) for name in ("ostro", "llama.cpp")}
    seen: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, worker in engines.items():
            for measure, value in worker.round().items():
                seen.setdefault((measure, name), []).append(value)
    lines = [
        f"`{model}`, {threads} threads, commit {commit()}, median of {rounds} rounds.",
        "",
        "| Work | Ostro | llama.cpp | ratio |",
        "|---|---|---|---|",
    ]
    for measure, unit in MEASURES.items():
        ours, theirs = (statistics.median(seen[measure, name]) for name in engines)
        lines.append(f"| {measure} | {ours:.1f} {unit} | {theirs:.1f} {unit} | {ours / theirs:.2f} |")
    loads = [worker.loaded for worker in engines.values()]
    lines.append(
        f"| load from a warm file cache | {loads[0]['seconds']:.1f} s | {loads[1]['seconds']:.1f} s |"
        f" {loads[0]['seconds'] / loads[1]['seconds']:.2f} |"
    )
    anonymous, resident = ([load[key] for load in loads] for key in ("anonymous", "resident"))
    lines.append(
        f"| resident, all | {resident[0]} MiB | {resident[1]} MiB | {resident[0] / resident[1]:.2f} |"
    )
    lines.append(f"| resident, not file pages | {anonymous[0]} MiB | {anonymous[1]} MiB | |")
    return "\n".join(lines)


class _Worker:
    """One engine in its own process, idle unless it is its turn."""

    def __init__(self, name: str, model: str, threads: int):
        command = [sys.executable, "-m", "bench.engine", "--worker", name, "--model", model]
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        )
        self.loaded = self._read()

    def round(self) -> dict[str, float]:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("An engine under measurement ended early; its message is above.")
        return json.loads(line)


def _work(name: str, model: str, threads: int) -> None:
    from engine.catalogue import resolve

    path, began = resolve(model), time.perf_counter()
    measure = (_ostro if name == "ostro" else _llama_cpp)(path, threads)
    print(json.dumps({"seconds": time.perf_counter() - began} | _resident()), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def _ostro(path: Path, threads: int) -> Callable[[], dict[str, float]]:
    from engine.request import Sampling
    from engine.runtime import Runtime

    runtime = Runtime.load(path, threads=threads)
    ids = _code(runtime.tokenizer.encode)

    def generate(prompt: list[int], tokens: int) -> float:
        began = time.perf_counter()
        for _ in runtime.generate(
            prompt, max_tokens=tokens, sampling=Sampling(), stop_ids=frozenset(), cancelled=lambda: False
        ):
            pass
        return time.perf_counter() - began

    def measure() -> dict[str, float]:
        runtime.forget()
        prefill = generate(ids, 1)
        decode = generate(ids, DECODE + 1) - generate(ids, 1)
        starts = [(PREFILL - 2 - n, 100 + n) for n in range(BRANCHES)]
        began = time.perf_counter()
        branches = runtime.branch(ids[:1], ids[1:], starts, stop=lambda _: False, max_tokens=BRANCH_TOKENS)
        seconds = time.perf_counter() - began
        made = sum(len(tokens) for tokens, _, _ in branches)
        return dict(zip(MEASURES, (PREFILL / prefill, DECODE / decode, made / seconds), strict=True))

    return measure


def _llama_cpp(path: Path, threads: int) -> Callable[[], dict[str, float]]:
    import llama_cpp  # pyright: ignore[reportMissingImports]  (`make bench` installs it)

    model = llama_cpp.Llama(
        str(path), n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    ids = _code(lambda text: model.tokenize(text.encode(), add_bos=False))

    def decode(tokens: int) -> float:
        began = time.perf_counter()
        for _ in range(tokens):
            model.eval([model.sample(temp=0.0)])
        return time.perf_counter() - began

    def measure() -> dict[str, float]:
        model.reset()
        began = time.perf_counter()
        model.eval(ids)
        prefill = time.perf_counter() - began
        decoded = decode(DECODE)
        # Its Python face has no batch of branches over one prefix: each goes after the other.
        began = time.perf_counter()
        for n in range(BRANCHES):
            model.n_tokens = PREFILL - 1 - n
            model.eval([100 + n])
            decode(BRANCH_TOKENS - 1)
        branches = time.perf_counter() - began
        made = BRANCHES * BRANCH_TOKENS
        return dict(zip(MEASURES, (PREFILL / prefill, DECODE / decoded, made / branches), strict=True))

    return measure


def _code(encode: Callable[[str], list[int]]) -> list[int]:
    """1,024 tokens of real code that every Python has."""
    return encode(Path(argparse.__file__).read_text() + Path(textwrap.__file__).read_text())[:PREFILL]


def _resident() -> dict[str, int]:
    """MiB of this process: all that is resident, and what of it is not pages of a file."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    megabytes = {key: int(status[key].split()[0]) // 1024 for key in ("VmRSS", "RssAnon")}
    return {"resident": megabytes["VmRSS"], "anonymous": megabytes["RssAnon"]}


if __name__ == "__main__":
    main()
