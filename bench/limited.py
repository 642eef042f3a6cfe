"""A model of 14 billion parameters that answers within 4 GB of memory.

    python -m bench.limited [--limit BYTES] [--layers N] [--tokens N] [--prompt N] [--folder DIR]

Writes a packed model of random weights, Small 4's in width, number of experts and vocabulary (four layers,
8 GB of experts at 4 bits), and has the engine process answer from it: as `ostro` starts it, with the memory
that it finds free. The process is in a memory cgroup of its own (version 1, as root), page cache and all; the
model's pages are dropped before. Prints what the kernel counted and what the experts' store did.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commit import commit
from bench.memory_group import Group, drop_pages, memory_group, missing
from bench.random_model import small_4, write_packed
from engine import ChatRequest, Engine, Message, Usage
from engine.errors import EngineError
from engine.locations import Meeting, meeting
from tests.engine.tekken_files import write_tekken

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 4_000_000_000
VOCABULARY = 131_072
START_SECONDS, TELL_SECONDS = 60.0, 0.2
STATS = "store.json"


@dataclass(frozen=True)
class Answered:
    """What one run came to."""

    parameters: int
    model_bytes: int
    """Of all files."""
    limit: int
    peak: int
    """Bytes that were charged to the group at most, page cache included."""
    anonymous: int
    """Of what was charged, that which is no file's, at most: the rest can be dropped."""
    load_seconds: float
    answers: tuple[Usage, ...]
    store: Mapping[str, float]
    """Hits, misses, bytes_read, stall_seconds, budget and taken of the engine's `ExpertStore`."""

    @property
    def report(self) -> str:
        """Markdown."""
        asked = self.store["hits"] + self.store["misses"]
        decode = [f"{(one.generated - 1) / one.decode_seconds:.2f}" for one in self.answers]
        prefill = [f"{one.prompt - one.cached} in {one.prefill_seconds:.1f} s" for one in self.answers]
        rows = {
            "parameters, bytes of the files": f"{self.parameters / 1e9:.1f} billion,"
            f" {self.model_bytes / 1e9:.2f} GB",
            "memory, limit": f"{self.limit / 1e6:,.0f} MB",
            "memory, peak of the group": f"{self.peak / 1e6:,.0f} MB, of which at most"
            f" {self.anonymous / 1e6:,.0f} MB were no file's",
            "memory of the experts": f"{self.store['taken'] / 1e6:,.0f} MB of a budget of"
            f" {self.store['budget'] / 1e6:,.0f} MB",
            "loaded in": f"{self.load_seconds:.1f} s",
            "prompts, new tokens": ", ".join(prefill),
            "decode, tokens/s": ", ".join(decode) + f" ({sum(one.generated for one in self.answers)} tokens)",
            "experts asked for that were in memory": f"{self.store['hits'] / asked:.0%} of {asked:,.0f}",
            "experts read": f"{self.store['bytes_read'] / 1e9:.1f} GB;"
            f" waited for {self.store['stall_seconds']:.1f} s",
        }
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.limited", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=LIMIT)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32, help="of each of two answers")
    parser.add_argument("--prompt", type=int, default=400, help="words of the first prompt")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--host", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        host(options.host)
    if why := missing():
        raise SystemExit(why)
    folder = Path(tempfile.mkdtemp(prefix="ostro-limited-", dir=options.folder))
    try:
        config = small_4(options.layers, VOCABULARY)
        print("writing the model", file=sys.stderr, flush=True)
        done = run(folder, config, limit=options.limit, tokens=options.tokens, words=options.prompt)
        print(f"Commit {commit()}, load {os.getloadavg()[0]:.1f} after.\n\n{done.report}")
    finally:
        shutil.rmtree(folder)


def run(folder: Path, config: Mapping[str, Any], *, limit: int, tokens: int, words: int) -> Answered:
    """Writes the model into `folder` and has it answer twice. Raises EngineError where it does not."""
    model = write_packed(folder / "model", config, "int4")
    write_tekken(model, "v15")
    drop_pages(model)
    with _own_folders(folder):
        return asyncio.run(_answer(model, folder / STATS, config, limit, tokens, words))


async def _answer(
    model: Path, stats: Path, config: Mapping[str, Any], limit: int, tokens: int, words: int
) -> Answered:
    place = meeting(model)
    command = [sys.executable, "-m", "bench.limited", "--host", str(stats), str(model), str(place.socket)]
    with memory_group() as group:
        group.limit(limit)
        began = time.monotonic()
        process = _start(command, group)
        try:
            _wait(process, place)
            async with await Engine.open(str(model), keep_alive=0) as engine:
                loaded = time.monotonic() - began
                answers = await _two_answers(engine, tokens, words)
                await asyncio.sleep(2 * TELL_SECONDS)
                seen = group.seen()
        except EngineError as error:
            raise EngineError(f"{error} (the group's peak was {group.seen().peak / 1e6:,.0f} MB)") from None
        finally:
            process.terminate()
            process.wait()
    return Answered(
        _parameters(config), sum(file.stat().st_size for file in model.iterdir()), limit, seen.peak,
        seen.anonymous, loaded, answers, json.loads(stats.read_text()),
    )  # fmt: skip


async def _two_answers(engine: Engine, tokens: int, words: int) -> tuple[Usage, ...]:
    """To a first turn, and to a second that has the first in the cache."""
    question = "In which of these words is a fault? " + "one two three four five six seven " * (words // 7)
    turns = [Message(role="user", content=question)]
    answers: list[Usage] = []
    for _ in range(2):
        request = ChatRequest(messages=tuple(turns), max_tokens=tokens)
        usage = [delta async for delta in engine.chat(request)][-1]
        assert isinstance(usage, Usage)
        answers.append(usage)
        turns.append(Message(role="assistant", token_ids=usage.token_ids))
        turns.append(Message(role="user", content="And in these? eight nine ten"))
    return tuple(answers)


def _start(command: list[str], group: Group) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*command, "--keep-alive", "60"], cwd=ROOT, preexec_fn=group.enter)


def host(arguments: list[str]) -> None:
    """The engine process itself, and a thread in it that writes down what the store did; never returns."""
    import threading

    from engine import host as engine_host

    stats = Path(arguments[0])

    def load(*told: Any, **more: Any) -> Any:
        model = engine_host.load_runtime(*told, **more)
        layer = model._model._decoder.layers[0]  # pyright: ignore[reportAttributeAccessIssue]
        store = layer.mlp.experts.routed._experts

        def tell() -> None:
            while True:
                names = ("hits", "misses", "bytes_read", "stall_seconds")
                told = {name: getattr(store.counters, name) for name in names}
                told |= {"budget": store.budget, "taken": store.memory_bytes}
                stats.with_suffix(".new").write_text(json.dumps(told))
                stats.with_suffix(".new").replace(stats)
                time.sleep(TELL_SECONDS)

        threading.Thread(target=tell, daemon=True).start()
        return model

    engine_host.main(arguments[1:], load)


def _wait(process: subprocess.Popen[bytes], place: Meeting) -> None:
    """Until it listens; what it then says, the engine's client hears."""
    until = time.monotonic() + START_SECONDS
    while not place.socket.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise EngineError(f"The engine process did not start; its log is {place.log}.")
        time.sleep(0.05)


@contextmanager
def _own_folders(folder: Path) -> Iterator[None]:
    """No socket, log or profile of this among the user's own."""
    own = {}
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        place = folder / name[4:7].lower()
        place.mkdir(mode=0o700)
        own[name] = str(place)
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _parameters(config: Mapping[str, Any]) -> int:
    from engine.anatomy import anatomy

    return anatomy(config).parameters


if __name__ == "__main__":
    main()
