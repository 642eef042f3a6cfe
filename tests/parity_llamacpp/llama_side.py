"""llama.cpp's side, run by the Python that llama-cpp-python was compiled for: see `peer.py`.

    python llama_side.py < request.json

One request: {"do": "quantise", "source", "target", "kind"}, {"do": "logits", "model", "parts", "first",
"out"} or {"do": "tokens", "model", "texts"}. The answer is one line of JSON, the last on standard output.
Only the bare C functions are used. `logits` feeds the parts of one sequence (lists of ids) one after the
other, from position `first` on, and writes float32 [tokens, vocabulary] to the .npy file `out`. Keys and
values are kept in 32 bits and flash attention is off, so that nothing is rounded but what the weights' own
kernels round.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import llama_cpp as c  # pyright: ignore[reportMissingImports]
import numpy as np

F32, NO_FLASH_ATTENTION = 0, 0
SAID: list[str] = []
LOUD = c.llama_log_callback(lambda level, text, data: SAID.append(text.decode("utf-8", "replace")))


def quantise(source: str, target: str, kind: str) -> dict[str, Any]:
    params = c.llama_model_quantize_default_params()
    params.nthread, params.ftype = 1, getattr(c, f"LLAMA_FTYPE_MOSTLY_{kind}")
    failed = c.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    return {"ok": not failed}


def logits(model: str, parts: list[list[int]], first: int, out: str) -> dict[str, Any]:
    loaded = _load(model)
    tokens, longest = sum(map(len, parts)), max(map(len, parts))
    params = c.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = tokens + 32, longest, longest
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = F32
    params.flash_attn_type = NO_FLASH_ATTENTION
    context = c.llama_init_from_model(loaded, params)
    if not context:
        return {"ok": False}
    vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(loaded))
    batch = c.llama_batch_init(longest, 0, 1)
    rows, place = [], first
    for ids in parts:
        batch.n_tokens = len(ids)
        for n, token in enumerate(ids):
            batch.token[n], batch.pos[n], batch.logits[n] = token, place + n, 1
            batch.n_seq_id[n], batch.seq_id[n][0] = 1, 0
        if c.llama_decode(context, batch):
            return {"ok": False}
        got = np.ctypeslib.as_array(c.llama_get_logits(context), (len(ids), vocabulary))
        rows.append(got.copy())
        place += len(ids)
    np.save(out, np.concatenate(rows))
    return {"ok": True}


def tokens(model: str, texts: list[str]) -> dict[str, Any]:
    vocabulary = c.llama_model_get_vocab(_load(model))
    answers = []
    for text in texts:
        raw = text.encode()
        room = (c.llama_token * (len(raw) + 8))()
        count = c.llama_tokenize(vocabulary, raw, len(raw), room, len(room), False, False)
        answers.append(list(room[:count]))
    return {"ok": True, "ids": answers}


def _load(model: str) -> Any:
    params = c.llama_model_default_params()
    params.n_gpu_layers = 0
    loaded = c.llama_model_load_from_file(model.encode(), params)
    if not loaded:
        print(json.dumps({"ok": False, "said": "".join(SAID[-20:])}))
        sys.exit(0)
    return loaded


def main() -> None:
    request = json.load(sys.stdin)
    c.llama_log_set(LOUD, ctypes.c_void_p(0))
    c.llama_backend_init()
    answer = {"quantise": quantise, "logits": logits, "tokens": tokens}[request.pop("do")](**request)
    print(json.dumps(answer | ({} if answer["ok"] else {"said": "".join(SAID[-20:])})), flush=True)


if __name__ == "__main__":
    main()
