"""GGUF files that are damaged, split or of another kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter

from engine.checkpoints import open_checkpoint
from engine.errors import BadModelFile, EngineError
from tests.engine.checkpoints.reading import load_model
from tests.engine.random_checkpoints import random_model, small_config, state_of
from tests.engine.random_gguf import write_gguf


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(2)
    return random_model()


@pytest.fixture(scope="module")
def whole(model: Any, tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(model, path, lambda name: Kind.MXFP4 if "_exps" in name else Kind.Q8_0)
    return path


def said(path: Path) -> str:
    with pytest.raises(EngineError) as caught:
        load_model(open_checkpoint(path))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def rewrite(source: Path, target: Path, *, drop: str = "", add: Any = None, **metadata: Any) -> Path:
    """A copy with metadata changed (None: left out), tensors dropped by a pattern, and one added."""
    from gguf import GGUFReader

    reader = GGUFReader(source)
    said = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    writer = GGUFWriter(target, metadata.pop("architecture", "mistral4"))
    changed = {key.replace("__", "."): value for key, value in metadata.items()}
    for key, field in said.items():
        if key != "general.architecture" and key not in changed:
            writer.add_key_value(key, field.contents(), field.types[0])
    for key, value in changed.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    for tensor in reader.tensors:
        if not drop or not re.search(drop, tensor.name):
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    if add:
        writer.add_tensor(*add)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": "llama"}, "architecture 'llama'"),
        ({"mistral4__block_count": 3}, "has 3 layers, the weights have 2"),
        ({"mistral4__expert_count": 5}, "has 5 experts a layer, the weights have 4"),
        ({"mistral4__embedding_length": 128}, "has projections of"),
        ({"mistral4__attention__key_length_mla": 8}, "of 8 values of a head are rotated"),
        ({"mistral4__attention__key_length_mla": "32"}, "is not a whole number"),
        ({"mistral4__attention__layer_norm_rms_epsilon": float("nan")}, "not a number of a sensible size"),
        ({"mistral4__attention__kv_lora_rank": None}, "lacks mistral4.attention.kv_lora_rank"),
        ({"mistral4__rope__scaling__type": "linear"}, "by 'linear', not by yarn"),
        ({"mistral4__expert_gating_func": 2}, "other than softmax"),
        ({"mistral4__attention__value_length_mla": 16}, "has the shape"),
        ({"drop": "blk.1.attn_v_b"}, "without blk.1.attn_v_b.weight"),
        ({"drop": "blk.1.ffn_up_exps"}, "layer 1 are not complete"),
        ({"drop": "token_embd"}, "no embedding"),
        ({"drop": "blk.0.attn_q_b"}, "other weights than the model has"),
        ({"add": ("blk.0.extra.weight", np.zeros((1, 32), np.float32))}, "no part of Mistral Small 4"),
        ({"add": ("blk.0.attn_q.bias", np.zeros(4, np.float64))}, "no part of Mistral Small 4"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_metadata_and_tensors_that_contradict(
    whole: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in said(rewrite(whole, tmp_path / "x.gguf", **changes))


def test_a_type_that_has_no_decoder(whole: Path, tmp_path: Path) -> None:
    changed = rewrite(
        whole, tmp_path / "x.gguf", drop="output_norm", add=("output_norm.weight", np.zeros(256))
    )

    assert "is in F64, which Ostro does not read" in said(changed)


def test_two_tensors_of_one_name_or_place(whole: Path, tmp_path: Path) -> None:
    raw = whole.read_bytes()
    assert raw.count(b"blk.0.attn_q_a.weight") == 1
    twice = raw.replace(b"blk.0.attn_q_b.weight", b"blk.0.attn_q_a.weight")
    (tmp_path / "twice.gguf").write_bytes(twice)
    assert "blk.0.attn_q_a.weight twice" in said(tmp_path / "twice.gguf")

    # The offset is the last field of an entry: name, dimensions, two sizes, type, offset.
    at = raw.index(b"blk.1.attn_q_b.weight") + len(b"blk.1.attn_q_b.weight") + 4 + 16 + 4
    before = raw.index(b"blk.0.attn_q_b.weight") + len(b"blk.0.attn_q_b.weight") + 4 + 16 + 4
    same = raw[:at] + raw[before : before + 8] + raw[at + 8 :]
    (tmp_path / "same.gguf").write_bytes(same)
    assert "overlap" in said(tmp_path / "same.gguf")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_a_file_that_is_cut_off(whole: Path, tmp_path: Path, share: float) -> None:
    raw = whole.read_bytes()
    (tmp_path / "x.gguf").write_bytes(raw[: int(len(raw) * share)])

    assert "not a usable GGUF file" in said(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("name", "at"), [("blk.1.ffn_down_exps", 0), ("blk.1.attn_output", 0), ("output_norm", 0)]
)
def test_scales_that_are_no_numbers(whole: Path, tmp_path: Path, name: str, at: int) -> None:
    """The first block's scale: the exponent 255 of MXFP4, and NaN in 16 and in 32 bits."""
    from engine.gguf_file import GgufFile

    tensor = GgufFile(whole).tensor(f"{name}.weight")
    raw = bytearray(whole.read_bytes())
    spoilt = {"MXFP4": b"\xff", "Q8_0": b"\x00\x7e", "F32": b"\x00\x00\xc0\x7f"}[tensor.kind.name]
    place = raw.index(tensor.data.tobytes())
    raw[place : place + len(spoilt)] = spoilt
    (tmp_path / "x.gguf").write_bytes(raw)

    assert "no finite numbers" in said(tmp_path / "x.gguf")


def _split(model: Any, whole: Path, folder: Path, count: int = 3) -> list[Path]:
    """As llama.cpp splits: the first part has the metadata, here without any tensor."""
    from gguf import GGUFReader

    tensors = GGUFReader(whole).tensors
    paths = [folder / f"m-{n + 1:05}-of-{count:05}.gguf" for n in range(count)]
    split = {"split__no": 0, "split__count": count, "split__tensors__count": len(tensors)}
    rewrite(whole, paths[0], drop=".", **split)
    for n, path in enumerate(paths[1:]):
        writer = GGUFWriter(path, "mistral4")
        writer.add_uint16("split.no", n + 1)
        writer.add_uint16("split.count", count)
        for tensor in tensors[n :: count - 1]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def test_a_model_in_parts(model: Any, whole: Path, tmp_path: Path) -> None:
    paths = _split(model, whole, tmp_path)
    expected = state_of(load_model(open_checkpoint(whole)))
    for path in (paths[0], tmp_path):
        loaded = state_of(load_model(open_checkpoint(path)))
        assert all(torch.equal(loaded[name], value) for name, value in expected.items())

    assert "a later part" in said(paths[1])
    shutil.copy(paths[1], paths[2])
    assert "not the part that its name says" in said(paths[0])
    paths[2].unlink()
    assert "is missing, a part of" in said(paths[0])
    paths[0].rename(tmp_path / "renamed.gguf")
    assert "should end in -00001-of-00003.gguf" in said(tmp_path / "renamed.gguf")


def test_a_tied_head(model: Any, whole: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(rewrite(whole, tmp_path / "x.gguf", drop="^output\\."))

    assert checkpoint.config["tie_word_embeddings"] is True and "lm_head.weight" not in checkpoint.names()


def test_a_layer_less_is_noticed(tmp_path: Path) -> None:
    """The weights themselves, with no metadata to compare with: a gap in the numbers."""
    config = small_config(num_hidden_layers=3)
    write_gguf(random_model(config), tmp_path / "m.gguf", lambda _: Kind.F16)

    assert "the weights have 2" in said(rewrite(tmp_path / "m.gguf", tmp_path / "x.gguf", drop="blk.1."))


def test_reading_beyond_the_rows_is_refused(whole: Path) -> None:
    weight = open_checkpoint(whole).weight("lm_head.weight", (320, 256))
    for start, stop in ((-1, 3), (5, 4), (0, 321)):
        with pytest.raises(IndexError):
            weight.rows(start, stop)
    with pytest.raises(BadModelFile, match="has the shape"):
        open_checkpoint(whole).weight("lm_head.weight", (256, 320))
    with pytest.raises(BadModelFile, match="no expert 4 in layer 0"):
        open_checkpoint(whole).expert(0, 4)
    with pytest.raises(BadModelFile, match="has no weight x"):
        open_checkpoint(whole).weight("x")
