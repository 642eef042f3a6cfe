"""GGUF files are read as the gguf package reads them, and damaged ones are named as such."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadModelFile, EngineError, ModelNotFound, UnsupportedModel
from engine.gguf_file import GgufFile


def test_metadata_and_tensors_are_those_of_the_reference_reader(tiny_model: Path) -> None:
    ours, reference = GgufFile(tiny_model), GGUFReader(tiny_model)

    for name, field in reference.fields.items():
        if not name.startswith("GGUF."):
            assert ours.metadata[name] == field.contents()
    assert set(ours.tensors) == {tensor.name for tensor in reference.tensors}
    for tensor in reference.tensors:
        expected = dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(
            ours.tensor(tensor.name).floats(), expected.reshape(ours.tensor(tensor.name).shape)
        )


def test_rows_are_dequantised_apart(tiny_model: Path) -> None:
    tensor = GgufFile(tiny_model).tensor("token_embd.weight")
    whole = tensor.floats()

    assert np.array_equal(tensor.rows(3, 9), whole[3:9])
    assert np.array_equal(tensor.take(np.array([7, 0, 7])), whole[[7, 0, 7]])


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused_with_a_sentence(tiny_model: Path, tmp_path: Path, share: float) -> None:
    whole = tiny_model.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(BadModelFile, match="not a usable GGUF file"):
        GgufFile(cut)


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, empty, old = tmp_path / "text.gguf", tmp_path / "empty.gguf", tmp_path / "old.gguf"
    text.write_text("not a model, whatever its name says")
    empty.write_bytes(b"")
    old.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))

    with pytest.raises(BadModelFile, match="is not a GGUF file"):
        GgufFile(text)
    with pytest.raises(BadModelFile):
        GgufFile(empty)
    with pytest.raises(UnsupportedModel, match="version 1"):
        GgufFile(old)
    with pytest.raises(ModelNotFound):
        GgufFile(tmp_path / "missing.gguf")


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "value",
    [
        string(b"general.alignment") + struct.pack("<II", 4, 0),
        string(b"general.alignment") + struct.pack("<I", 8) + string(b"x"),
        string(b"deep") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 20_000,
        string(b"long") + struct.pack("<IIQ", 9, 4, 1 << 62),
        string(b"\xff\xfe") + struct.pack("<II", 4, 0),
    ],
    ids=["no alignment", "alignment in words", "deep array", "endless array", "not UTF-8"],
)
def test_a_hostile_header_is_refused(tmp_path: Path, value: bytes) -> None:
    file = tmp_path / "hostile.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + value)

    with pytest.raises(BadModelFile):
        GgufFile(file)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_header_never_crashes(data: st.DataObject, tiny_model: Path, tmp_path_factory) -> None:
    damaged = bytearray(tiny_model.read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / "damaged.gguf"
    file.write_bytes(damaged)

    with pytest.raises(EngineError):
        GgufFile(file)
