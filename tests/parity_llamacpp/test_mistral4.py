"""Mistral Small 4 in GGUF: Ostro against llama.cpp, with transformers to say whose a difference is.

llama.cpp rounds what it multiplies quantised weights with to 8 bits (and for 16-bit weights to their 16),
which Ostro does not at full precision. How much that moves the logits is computed here, by transformers with
the same rounding before every product; it is what the two may be apart, times two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType as Kind

from engine.opening import open_tokenizer
from tests.engine.random_gguf import write_gguf
from tests.parity_llamacpp import angles, peer, small_4
from tests.parity_llamacpp.differences import Difference, Table
from tests.parity_llamacpp.reference import Reference

pytestmark = pytest.mark.llama_cpp

WRITTEN = {"F32": Kind.F32, "F16": Kind.F16, "BF16": Kind.BF16, "Q8_0": Kind.Q8_0}
"""By the `gguf` package."""
MIXES = ("Q6_K", "Q4_K_M", "Q3_K_M", "MXFP4_MOE")
"""By llama.cpp from the F32 file, each the mix that llama-quantize makes of it."""
SAME = 2e-4
"""Largest difference of logits (they are of the order 1) between two that compute in float32."""
IDS = small_4.sequence(248)
TEXTS = [
    "def f(x):\n    return x + 1\n",
    "\t\tif a  ==  b:   # tabs \r\n\r\n\n",
    "días 日本語 🎉 e\u0301",
    "[INST]</s>",
]


@pytest.fixture(scope="module")
def model() -> Any:
    return small_4.made()


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for name, kind in WRITTEN.items():
        made[name] = folder / f"{name}.gguf"
        write_gguf(model, made[name], lambda _, kind=kind: kind, tokenizer=True, temperature=True)
    for name in MIXES:
        made[name] = peer.quantise(made["F32"], folder / f"{name}.gguf", name)
    return made


def test_in_float32_the_two_are_the_same_function(files: dict[str, Path], table: Table) -> None:
    """Prefill, a chunk and decoding, at the scale of scores that llama.cpp has: transformers' own."""
    path, fed = files["F32"], small_4.parts(IDS)
    theirs = peer.logits(path, fed)
    ours = small_4.logits(small_4.exact(path, "yarn"), fed)
    third = Reference(path, small_4.CONFIG).logits(IDS)
    table.add("F32", "Ostro `yarn`, llama.cpp", seen := Difference.of(ours, theirs))
    table.add("F32", "transformers, llama.cpp", Difference.of(third, theirs))
    table.add("F32", "Ostro `yarn`, transformers", own := Difference.of(ours, third))

    assert max(seen.largest, own.largest) <= SAME
    assert seen.same_top == own.same_top == 1


def test_which_scale_of_scores_is_llama_cpps(files: dict[str, Path], table: Table) -> None:
    """Not Ostro's default, which is what the model's own params.json says: see docs/engine.md."""
    path, fed = files["F32"], small_4.parts(IDS)
    theirs = peer.logits(path, fed)
    stated, plain = (
        Difference.of(small_4.logits(small_4.exact(path, scale), fed), theirs)
        for scale in ("stated", "plain")
    )
    table.add("F32", "Ostro `plain`, llama.cpp", plain)

    assert stated == plain
    assert plain.mean > 1000 * SAME


@pytest.mark.parametrize("name", [*WRITTEN, *MIXES][1:])
def test_the_same_file_within_its_own_rounding(name: str, files: dict[str, Path], table: Table) -> None:
    path, fed = files[name], small_4.parts(IDS)
    reference = Reference(path, small_4.CONFIG)
    third, rounded = reference.logits(IDS), reference.logits(IDS, rounded=True)
    theirs = peer.logits(path, fed)
    ours = small_4.logits(small_4.exact(path, "yarn"), fed)
    seen, own, allowed = (Difference.of(*pair) for pair in ((ours, theirs), (ours, third), (rounded, third)))
    kinds = sorted({kind.name for kind in reference.kinds.values()})
    table.add(f"{name} ({' '.join(kinds)})", "Ostro, llama.cpp", seen)
    table.add(name, "Ostro, transformers", own)
    table.add(name, "transformers with llama.cpp's rounding, without", allowed)

    assert own.largest <= SAME
    assert seen.mean <= 2 * allowed.mean
    assert seen.divergence <= 3 * allowed.divergence


@pytest.mark.parametrize("first", [small_4.TRAINED - 20, 3 * small_4.TRAINED - 20, 262_144 - 40])
def test_positions_beyond_the_trained_ones(first: int, files: dict[str, Path], table: Table) -> None:
    """Yarn's slowed frequencies and llama-4's temperature. Both engines are off by what 32 bits of an angle
    are worth at such a place, see `angles.py`; Ostro by less."""
    ids = small_4.sequence(40)
    fed, path, name = [ids[:25], ids[25:-1], ids[-1:]], files["F32"], f"F32, positions from {first:,}"
    theirs = peer.logits(path, fed, first)
    ours = small_4.logits(small_4.exact(path, "yarn"), fed, first)
    reference = Reference(path, small_4.CONFIG)
    exact = reference.logits(ids, first, angles=angles.exact)
    turned = reference.logits(ids, first, angles=angles.as_ggml_has_them)
    seen = Difference.of(ours, theirs)
    own, off = Difference.of(ours, exact), Difference.of(theirs, exact)
    table.add(name, "Ostro `yarn`, llama.cpp", seen)
    table.add(name, "Ostro `yarn`, exact angles", own)
    table.add(name, "llama.cpp, exact angles", off)
    table.add(name, "transformers at ggml's angles, llama.cpp", same := Difference.of(turned, theirs))

    assert same.largest <= SAME
    assert own.mean <= off.mean
    assert seen.mean <= own.mean + off.mean


def test_files_that_do_not_say_the_temperature(model: Any, tmp_path: Path, table: Table) -> None:
    """The converter leaves its two keys out where it starts from config.json. llama.cpp then has none; Ostro
    has the model's, because the weights are the same whatever file they are in."""
    path, first = tmp_path / "silent.gguf", 3 * small_4.TRAINED
    write_gguf(model, path, lambda _: Kind.F32, tokenizer=True)
    ids = small_4.sequence(40)
    theirs = peer.logits(path, [ids], first)
    ours = small_4.logits(small_4.exact(path, "yarn"), [ids], first)
    reference = Reference(path, small_4.CONFIG)
    without = reference.logits(ids, first, beta=0.0, angles=angles.as_ggml_has_them)
    name = f"F32 without temperature, from {first:,}"
    table.add(name, "Ostro `yarn`, llama.cpp", seen := Difference.of(ours, theirs))
    table.add(name, "transformers at beta 0, llama.cpp", their := Difference.of(without, theirs))
    table.add(name, "Ostro `yarn`, transformers", own := Difference.of(ours, reference.logits(ids, first)))

    assert max(their.largest, own.largest) <= SAME
    assert seen.mean > 100 * SAME


@pytest.mark.parametrize("name", ["Q8_0", *MIXES])
def test_as_it_is_run(name: str, files: dict[str, Path], table: Table) -> None:
    """With Ostro's own rounding (int8 for dense layers, experts in 4 or 8 bits) instead of llama.cpp's. Q3_K
    and MXFP4 have no equal in Ostro's 4 bits and are rounded again, see docs/experts.md."""
    path, fed = files[name], small_4.parts(IDS)
    third = Reference(path, small_4.CONFIG).logits(IDS)
    ours = Difference.of(small_4.logits(small_4.as_run(path, "yarn"), fed), third)
    theirs = Difference.of(peer.logits(path, fed), third)
    table.add(name, "Ostro as it is run, transformers", ours)
    table.add(name, "llama.cpp, transformers", theirs)

    assert ours.divergence <= 4 * theirs.divergence


def test_text_becomes_the_same_ids(files: dict[str, Path]) -> None:
    texts = [
        "def f(x):\n    return x + 1\n",
        "\t\tif a  ==  b:   # tabs \r\n\r\n\n",
        "días 日本語 🎉 e\u0301",
        "[INST]</s>",
    ]
    tokenizer = open_tokenizer(files["F32"])

    assert peer.tokens(files["F32"], texts) == [tokenizer.encode(text) for text in texts]
