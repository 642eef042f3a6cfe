"""A GGUF model that was split into several files, as one set of tensors."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import BadModelFile
from engine.gguf_file import GgufFile, Tensor

PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
MOST_PARTS = 10_000


def open_parts(path: Path) -> tuple[list[GgufFile], dict[str, Tensor]]:
    """The files, the one with the metadata first, and the tensors of all. Raises BadModelFile."""
    first = GgufFile(path)
    count = first.metadata.get("split.count", 1)
    if type(count) is not int or not 0 <= count < MOST_PARTS:
        raise BadModelFile(f"{path} claims to be one of {str(count)[:40]} parts; fetch it again.")
    files = [first] if count < 2 else [first, *_others(path, first, count)]
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in tensors:
                raise BadModelFile(f"{path} has the tensor {name} in two of its parts; fetch it again.")
            tensors[name] = tensor
    said = first.metadata.get("split.tensors.count", len(tensors))
    if count > 1 and said != len(tensors):
        raise BadModelFile(
            f"{path} and its other parts hold {len(tensors)} tensors of {said}; fetch them again."
        )
    return files, tensors


def _others(path: Path, first: GgufFile, count: int) -> list[GgufFile]:
    match = PART.search(path.name)
    if first.metadata.get("split.no") != 0:
        raise BadModelFile(
            f"{path} is a later part of a model; name the part that ends in -00001-of-{count:05}.gguf."
        )
    if not match or int(match[1]) != 1 or int(match[2]) != count:
        raise BadModelFile(
            f"{path} is the first of {count} parts and should end in -00001-of-{count:05}.gguf."
        )
    stem = path.name[: match.start()]
    files = []
    for number in range(2, count + 1):
        other = path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf")
        if not other.exists():
            raise BadModelFile(f"{other} is missing, a part of {path.name}; fetch it too.")
        files.append(GgufFile(other))
        if files[-1].metadata.get("split.no") != number - 1 or files[-1].metadata.get("split.count") != count:
            raise BadModelFile(f"{other} is not the part that its name says; fetch it again.")
    return files
