"""llama.cpp from the outside: a process for each request, by the Python that it was built for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".parity" / "venv" / "bin" / "python"
SIDE = Path(__file__).with_name("llama_side.py")
SECONDS = 600


def missing() -> str | None:
    """Why there is no llama.cpp here, in a sentence; None where there is one."""
    if (ROOT / ".parity" / ".llama").is_file() and PYTHON.is_file():
        return None
    return "llama.cpp is not built here; `make parity-llamacpp` builds it"


def quantise(source: Path, target: Path, kind: str) -> Path:
    """`kind` as llama-quantize names it, Q4_K_M say: the mix that it makes, fallbacks and all."""
    _ask(do="quantise", source=str(source), target=str(target), kind=kind)
    return target


def logits(model: Path, parts: list[list[int]], first: int = 0) -> torch.Tensor:
    """float32 [tokens, vocabulary] of one sequence that is fed in parts, from position `first` on."""
    out = model.with_name(model.name + ".logits.npy")
    _ask(do="logits", model=str(model), parts=parts, first=first, out=str(out))
    rows = torch.from_numpy(np.load(out))
    out.unlink()
    return rows


def tokens(model: Path, texts: list[str]) -> list[list[int]]:
    """Ids of ordinary text."""
    return _ask(do="tokens", model=str(model), texts=texts)["ids"]


def _ask(**request: Any) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, "-I", SIDE], input=json.dumps(request), capture_output=True, text=True, timeout=SECONDS
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines, f"llama.cpp ended with {done.returncode}:\n{done.stderr[-4000:]}"
    answer = json.loads(lines[-1])
    assert answer["ok"], answer["said"]
    return answer
