"""The tensors of a folder of safetensors shards, by name, whichever shard holds them."""

from __future__ import annotations

import re
from pathlib import Path

from engine.checkpoints.folder import has_file, list_files, read_json
from engine.checkpoints.safetensors_file import SafetensorsFile, StoredTensor
from engine.errors import BadModelFile

SHARD = re.compile(r"-(\d{1,6})-of-(\d{1,6})\.safetensors$")


def open_shards(folder: Path, stem: str) -> tuple[dict[str, StoredTensor], list[SafetensorsFile]]:
    """Tensors and files of `stem` (`model` or `consolidated`): one file or shards, with an index or not."""
    index = f"{stem}.safetensors.index.json"
    listed = _weight_map(folder, index) if has_file(folder, index) else None
    names = sorted(set(listed.values())) if listed is not None else shard_names(folder, stem)
    if listed is None:
        _check_numbers(folder, names)
    files = [SafetensorsFile(folder, name) for name in names]
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in tensors:
                raise BadModelFile(
                    f"{folder} holds {name} twice, in {tensors[name].file.path.name} and {file.path.name}; "
                    "fetch the model again."
                )
            tensors[name] = tensor
    for name, where in (listed or {}).items():
        if name not in tensors or tensors[name].file.path.name != where:
            raise BadModelFile(
                f"{folder / where} does not hold {name[:200]}, as {index} says; fetch them again."
            )
    return tensors, files


def shard_names(folder: Path, stem: str) -> list[str]:
    """`stem.safetensors`, or all of `stem-00001-of-0000N.safetensors`."""
    if has_file(folder, f"{stem}.safetensors"):
        return [f"{stem}.safetensors"]
    return [name for name in list_files(folder) if name.startswith(f"{stem}-") and SHARD.search(name)]


def _check_numbers(folder: Path, names: list[str]) -> None:
    matches = [match for match in map(SHARD.search, names) if match]
    counts = {int(match[2]) for match in matches}
    if not matches:
        return
    if len(counts) > 1:
        raise BadModelFile(
            f"{folder} mixes shards of several models; fetch the model into a folder of its own."
        )
    missing = (
        set(range(1, max(counts) + 1)) - {int(match[1]) for match in matches}
        if max(counts) < 100_000
        else {0}
    )
    if missing:
        raise BadModelFile(
            f"{folder} lacks shard {min(missing)} of {max(counts)} of its weights; fetch the model again."
        )


def _weight_map(folder: Path, index: str) -> dict[str, str]:
    listed = read_json(folder, index).get("weight_map")
    if (
        not isinstance(listed, dict)
        or not listed
        or not all(isinstance(name, str) for name in listed.values())
    ):
        raise BadModelFile(f"{folder / index} has no list of weights and files; fetch it again.")
    return listed
