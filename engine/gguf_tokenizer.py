"""The tokenizer of a GGUF file on its own: a GGUF file without tensors, for a model whose weights move on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gguf import GGUFValueType, GGUFWriter

from engine.gguf_file import GgufFile

TOKENIZER_GGUF = "tokenizer.gguf"
"""Its name in a model's folder."""
KEYS = "tokenizer."


def copy_tokenizer(source: Path, target: Path) -> None:
    """Everything that `source` says of its tokenizer, as the GGUF file `target`.

    Raises ModelNotFound, BadModelFile, UnsupportedModel, OSError.
    """
    file = GgufFile(source)
    writer = GGUFWriter(target, file.architecture)
    for key, value in file.metadata.items():
        if key.startswith(KEYS):
            _add(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    """Lists that are empty or hold lists are left out: the package writes none, and no tokenizer has any."""
    if not isinstance(value, list):
        writer.add_key_value(key, value, _kind([value]))
    elif value and not isinstance(value[0], list):
        writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=_kind(value))


def _kind(values: list[Any]) -> GGUFValueType:
    """Wide enough for all of them; the type stands beside each value, so readers do not mind."""
    first = values[0]
    if isinstance(first, bool):
        return GGUFValueType.BOOL
    if isinstance(first, int):
        return GGUFValueType.INT64 if min(values) < 0 else GGUFValueType.UINT64
    return GGUFValueType.FLOAT64 if isinstance(first, float) else GGUFValueType.STRING
