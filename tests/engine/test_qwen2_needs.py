"""A qwen2 header whose sizes make no model: one sentence, for who looks at the file and who loads it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from engine.describing import described
from engine.errors import BadModelFile
from engine.runtime import Runtime

UINT32, INT32 = 4, 5
SIZES = (
    "block_count",
    "attention.head_count",
    "attention.head_count_kv",
    "embedding_length",
    "context_length",
)


def with_size(file: Path, key: str, value: int) -> bytes:
    """The file's bytes, one size of its header replaced."""
    data, name = file.read_bytes(), f"qwen2.{key}".encode()
    at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    kind = UINT32 if value >= 0 else INT32
    return data[:at] + struct.pack("<Ii", kind, value) + data[at + 8 :]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, 0) for key in SIZES),
        *((key, -1) for key in SIZES),
        ("block_count", 2**31 - 1),
        ("attention.head_count", 3),
        ("attention.head_count_kv", 3),
    ],
)
def test_sizes_that_make_no_model_are_one_sentence(
    key: str, value: int, tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(with_size(tiny_model, key, value))
    for read in (described, Runtime.load):
        with pytest.raises(BadModelFile) as told:
            read(path)
        assert str(told.value) == f"{path}: the sizes in its header make no model; fetch it again."
