"""llama.cpp's turn in `bench.moe`, run by the Python that llama-cpp-python was compiled for.

Reads the job from standard input and prints lines as `bench.moe_contenders` does, for a layer: the whole
model's time by its layers. Its own router chooses. Only the bare C functions are used, and nothing is drawn.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from typing import Any

import llama_cpp as c  # pyright: ignore[reportMissingImports]  (`make parity-llamacpp` builds it)

WARM_PROMPT, AT_ONCE = 8, 512
SAID: list[str] = []
LISTEN = c.llama_log_callback(lambda level, text, data: SAID.append(text.decode("utf-8", "replace")))


def main() -> None:
    job = json.load(sys.stdin)
    c.llama_log_set(LISTEN, ctypes.c_void_p(0))
    c.llama_backend_init()
    params = c.llama_model_default_params()
    params.n_gpu_layers = 0
    path = os.path.join(job["folder"], f"{job['kind']}.gguf")
    model = c.llama_model_load_from_file(path.encode(), params)
    if not model:
        sys.exit("llama.cpp does not load the file: " + "".join(SAID[-20:]))
    draw, layers, vocabulary = (
        random.Random(2),
        job["config"]["num_hidden_layers"],
        job["config"]["vocab_size"],
    )

    def ids(count: int) -> list[int]:
        return [draw.randrange(vocabulary) for _ in range(count)]

    warm = context_of(model, job, AT_ONCE)
    feed(warm, ids(AT_ONCE))  # the file's pages into memory, every expert of them
    feed(warm, ids(AT_ONCE))
    c.llama_free(warm)
    for length in job["prompts"]:
        context = context_of(model, job, length)
        tell(f"whole prefill {length}", job["kind"], feed(context, ids(length)) / layers)
        c.llama_free(context)
    context = context_of(model, job, WARM_PROMPT + job["tokens"])
    feed(context, ids(WARM_PROMPT))
    seconds = sum(feed(context, [token]) for token in ids(job["tokens"]))
    tell("whole decode", job["kind"], seconds / job["tokens"] / layers)


def context_of(model: Any, job: dict[str, Any], tokens: int) -> Any:
    params = c.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = tokens * 2 + 64, max(tokens, AT_ONCE), AT_ONCE
    params.n_threads = params.n_threads_batch = job["threads"]
    context = c.llama_init_from_model(model, params)
    if not context:
        sys.exit("llama.cpp makes no context: " + "".join(SAID[-20:]))
    return context


def feed(context: Any, ids: list[int]) -> float:
    """Seconds until the tokens, which follow what is there, are through."""
    held = (c.llama_token * len(ids))(*ids)
    batch = c.llama_batch_get_one(held, len(ids))
    began = time.perf_counter()
    if c.llama_decode(context, batch):
        sys.exit("llama.cpp could not decode: " + "".join(SAID[-20:]))
    c.llama_synchronize(context)
    return time.perf_counter() - began


def tell(work: str, how: str, seconds: float) -> None:
    print(json.dumps({"work": work, "how": how, "seconds": seconds, "amount": 0.0}), flush=True)


if __name__ == "__main__":
    main()
