"""From a path to a checkpoint: which layout the folder or file has."""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.folder import has_file, list_files
from engine.checkpoints.gguf import open_gguf
from engine.checkpoints.hf import open_hf
from engine.checkpoints.native import open_native
from engine.checkpoints.shards import shard_names
from engine.checkpoints.weight import Checkpoint
from engine.errors import BadModelFile, ModelNotFound, UnsupportedModel

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def open_checkpoint(path: Path) -> Checkpoint:
    """A folder in the hub's or Mistral's own layout, or a GGUF file (the first, where it is in parts).

    Nothing but headers and configurations is read. Raises ModelNotFound, BadModelFile or UnsupportedModel.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ModelNotFound(f"There is no model at {path}.")
    if path.name.endswith(PICKLED):
        raise _pickled(path)
    if path.name.endswith(".safetensors"):
        raise UnsupportedModel(f"{path} is a part of a model; name its folder.")
    return open_gguf(path)


def _open_folder(folder: Path) -> Checkpoint:
    files = list_files(folder)
    # Where a folder has a model twice, the native files are left alone: transformers' names need no guessing.
    if has_file(folder, "config.json") and _has_weights(folder, "model"):
        return open_hf(folder)
    if has_file(folder, "params.json") and _has_weights(folder, "consolidated"):
        return open_native(folder)
    whole = [name for name in files if name.endswith(".gguf") and not name.startswith("mmproj")]
    first = [name for name in whole if "-of-" not in name or "-00001-of-" in name]
    if len(first) == 1:
        return open_gguf(folder / first[0])
    if whole:
        raise ModelNotFound(f"{folder} holds several GGUF files; name the one you want.")
    if any(name.endswith(PICKLED) for name in files):
        raise _pickled(folder)
    if any(name.endswith(".safetensors") for name in files):
        raise BadModelFile(f"{folder} has weights without config.json or params.json; fetch the model again.")
    raise ModelNotFound(f"{folder} holds no model: no safetensors and no GGUF file.")


def _has_weights(folder: Path, stem: str) -> bool:
    return has_file(folder, f"{stem}.safetensors.index.json") or bool(shard_names(folder, stem))


def _pickled(path: Path) -> UnsupportedModel:
    return UnsupportedModel(
        f"{path} has its weights pickled, which can run programs when opened; use safetensors or GGUF files."
    )
