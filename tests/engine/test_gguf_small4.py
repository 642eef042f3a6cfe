"""A small random Mistral Small 4 as one GGUF file, the way a user gives it: to the runtime, the engine
process, the command line, and `ostro models convert`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from engine import Engine
from engine.checkpoints import open_checkpoint
from engine.errors import UnsupportedModel
from engine.experts import convert
from engine.gguf_file import GgufFile
from engine.gguf_tokenizer import TOKENIZER_GGUF, copy_tokenizer
from engine.hosting import form_of
from engine.opening import open_hosted, open_tokenizer
from engine.request import Sampling
from engine.runtime import Runtime
from engine.tokenizer import Tokenizer
from tests.conftest import GitRepo
from tests.engine import random_checkpoints as random
from tests.engine.answering import answers_at_each_effort
from tests.engine.random_gguf import SPECIAL, write_gguf
from tests.engine.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).parents[2]
TEXT = "def add(a, b):\n    return a - b  # días 日本語 🎉\n"


@pytest.fixture(scope="module")
def model() -> Any:
    return random.random_model(random.small_config(vocab_size=512))


@pytest.fixture(scope="module")
def exact(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BF16 holds the model's weights to the bit."""
    path = tmp_path_factory.mktemp("exact") / "small-4.gguf"
    write_gguf(model, path, lambda _: Kind.BF16, tokenizer=True)
    return path


@pytest.fixture(scope="module")
def mixed(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As people run it: experts in MXFP4, everything else in Q8_0."""
    path = tmp_path_factory.mktemp("mixed") / "small-4-mxfp4.gguf"
    write_gguf(model, path, lambda name: Kind.MXFP4 if "exps" in name else Kind.Q8_0, tokenizer=True)
    return path


def drawn(path: Path, ids: list[int], **how: Any) -> list[int]:
    runtime = Runtime.load(path, threads=1, open_hosted=partial(open_hosted, **how))
    answer = runtime.generate(
        ids, max_tokens=12, sampling=Sampling(), stop_ids=frozenset(), cancelled=lambda: False
    )
    return [sampled.token_id for sampled in answer]


@pytest.mark.parametrize("scale", ["stated", "yarn"])
def test_the_runtime_gives_the_tokens_of_transformers(model: Any, exact: Path, scale: str) -> None:
    """A GGUF file says nothing of the scale, so that `stated` is the plain one; transformers' own is
    `yarn`."""
    ids = open_tokenizer(exact).encode(TEXT)
    attention = [layer.self_attn for layer in model.model.language_model.layers]
    theirs = [each.scaling for each in attention]
    try:
        if scale == "stated":
            for each in attention:
                each.scaling = each.qk_head_dim**-0.5
        with torch.no_grad():
            told = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None)
    finally:
        for each, own in zip(attention, theirs, strict=True):
            each.scaling = own

    assert drawn(exact, ids, precision="float32", softmax_scale=scale) == told[0, len(ids) :].tolist()


@pytest.mark.parametrize(
    ("usual", "some", "form"),
    [(Kind.Q4_K, Kind.Q6_K, "int4"), (Kind.Q5_K, Kind.Q6_K, "int8"), (Kind.Q3_K, Kind.Q5_K, "int4")],
)
def test_experts_are_kept_as_most_of_them_are_stored(
    model: Any, tmp_path: Path, usual: Kind, some: Kind, form: str
) -> None:
    """In Q4_K_M and its kin the first layers' `down` has more bits than the rest."""
    path = tmp_path / "mix.gguf"
    first = "blk.0.ffn_down_exps"
    kind = {True: usual, False: Kind.Q8_0}
    write_gguf(model, path, lambda name: some if first in name else kind["exps" in name])

    checkpoint = open_checkpoint(path)
    assert checkpoint.expert(0, 0).down.kind == some.name
    assert form_of(checkpoint) == form


def test_special_tokens_come_from_the_file(exact: Path) -> None:
    tokenizer = open_tokenizer(exact)

    assert tokenizer.special == {name: n for n, name in enumerate(SPECIAL)}
    assert tokenizer.end_ids == {SPECIAL.index("</s>")}
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert not set(tokenizer.encode("[INST]<s>")) & set(tokenizer.special.values())


async def test_the_engine_answers_from_the_file(mixed: Path) -> None:
    async with await Engine.open(str(mixed), keep_alive=0) as engine:
        assert engine.capabilities.effort == "native" and not engine.capabilities.images
        await answers_at_each_effort(engine)


def test_ostro_run_takes_the_file(mixed: Path, git_repo: GitRepo) -> None:
    """Random weights solve nothing; that they were asked, and what for, is all there is to see."""
    repo = git_repo({"check.py": "raise SystemExit('add is wrong')\n"})
    words = ["run", "--json", "--repo", str(repo), "--model", str(mixed), "--max-steps", "1"]
    words += ["--verify", "python3 check.py", "Correct it."]
    done = subprocess.run(
        [sys.executable, str(ROOT / "ostro.py"), *words],
        capture_output=True, text=True, timeout=300, env=os.environ | {"CI": "1"},
    )  # fmt: skip
    end = json.loads(done.stdout.splitlines()[-1])

    assert end["type"] == "end" and end["outcome"] in ("unsolved", "limit"), done.stdout + done.stderr
    assert done.returncode == 1
    assert end["tokens"]["prompt"] > 0 and end["tokens"]["generated"] > 0


def test_the_packed_form_brings_the_tokenizer_along(exact: Path, tmp_path: Path) -> None:
    packed = convert(open_checkpoint(exact), tmp_path / "packed", form="bfloat16").path
    ours, theirs = open_tokenizer(packed), open_tokenizer(exact)
    assert isinstance(ours, Tokenizer) and isinstance(theirs, Tokenizer)

    assert (packed / TOKENIZER_GGUF).stat().st_size < 20_000
    assert ours.encode(TEXT) == theirs.encode(TEXT)
    assert (ours.special, ours.end_ids, len(ours)) == (theirs.special, theirs.end_ids, len(theirs))
    assert drawn(packed, ours.encode(TEXT)) == drawn(exact, ours.encode(TEXT))


def test_models_convert_makes_a_folder_that_answers(mixed: Path, tmp_path: Path) -> None:
    target = tmp_path / "packed"
    words = ["models", "convert", str(mixed), str(target), "--bits", "8"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "ostro.py"), *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr

    runtime = Runtime.load(target, threads=1, open_hosted=open_hosted)
    assert runtime.tokenizer.decode(runtime.tokenizer.encode(TEXT)) == TEXT


def test_every_value_of_a_tokenizer_is_copied(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    copy_tokenizer(source, tmp_path / "copy.gguf")
    copied, original = GgufFile(tmp_path / "copy.gguf"), GgufFile(source)

    assert copied.tensors == {}
    wanted = {key: value for key, value in original.metadata.items() if key.startswith("tokenizer.")}
    assert copied.metadata == {"general.architecture": "qwen2", **wanted}


def test_a_tokenizer_of_another_kind_is_said(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "untold.gguf"
    write_gguf(model, path, lambda _: Kind.Q8_0)

    with pytest.raises(UnsupportedModel, match="tokenizer"):
        open_hosted(path)
