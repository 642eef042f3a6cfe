"""Every test of parity runs on the processor, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from tests.engine.hosted import tiny

torch.set_num_threads(1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """There, convolutions are not rounded to TF32, as torch would have it."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    return request.param


@cache
def _reference(name: str, plain: bool) -> Any:
    return tiny.reference(name, rope=tiny.PLAIN if plain else {})


@pytest.fixture(scope="session")
def reference() -> Callable[..., Any]:
    """A random model of transformers, made once; latent attention with scores scaled by width ** -0.5, unless
    it is asked for as it is."""
    return lambda name, as_it_is=False: _reference(name, "mistral4" in name and not as_it_is)
